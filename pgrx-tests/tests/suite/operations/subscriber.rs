//! Logical replication of a table under deployment: each change arrives once, whatever is swapped
//! meanwhile.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Cluster, Options, SUPERUSER};
use bluegreen_tests::journal::{self, Schema, Workload, Writers};

use crate::story::course::{revert_under_load, seed};
use crate::story::{Person, Scene, Stage, new_cluster, stage};

/// Notes each change of `users`: by its writers on one side, as it arrives on the other.
const NOTES: &str = "
    CREATE SCHEMA notes;
    CREATE TABLE notes.change (op text, before text, after text);
    CREATE FUNCTION notes.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO notes.change VALUES (TG_OP, CASE WHEN TG_OP <> 'INSERT' THEN OLD.id END,
            CASE WHEN TG_OP <> 'DELETE' THEN ROW(NEW.id, NEW.name, NEW.email, NEW.created_at)::text END);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON users
        FOR EACH ROW EXECUTE FUNCTION notes.note();
    ALTER TABLE users ENABLE ALWAYS TRIGGER note";
const ROWS: &str = "SELECT ROW(id, name, email, created_at)::text FROM users ORDER BY id";
const CHANGES: &str =
    "SELECT concat_ws(' ', op, before, after) AS change FROM notes.change ORDER BY 1";

fn publishers() -> &'static Cluster {
    static PUBLISHERS: Stage = stage!({
        let options = Options::default().set("wal_level", "logical").set("max_wal_senders", "40");
        new_cluster(&options.set("max_replication_slots", "40"))
    });
    PUBLISHERS.cluster()
}

fn subscribers() -> &'static Cluster {
    static SUBSCRIBERS: Stage = stage!({
        // A worker that has failed begins again at once.
        let options = Options::default().set("wal_retrieve_retry_interval", "100ms");
        let options = options.set("max_logical_replication_workers", "40");
        new_cluster(&options.set("max_worker_processes", "50").set("max_replication_slots", "40"))
    });
    SUBSCRIBERS.cluster()
}

/// A database that subscribes to a publication.
struct Subscriber {
    scene: Scene,
    publisher: String,
}

impl Subscriber {
    /// With `users` as the publisher has it, and columns besides; it has copied the rows.
    fn new(publisher: &Scene, publication: &str, more: &str) -> Self {
        let subscriber = Self::begin(publisher, publication, more);
        subscriber.until_copied();
        subscriber.admin().run(NOTES);
        subscriber
    }

    /// The same, and its copy has only begun.
    fn begin(publisher: &Scene, publication: &str, more: &str) -> Self {
        let scene = Scene::in_cluster(subscribers());
        scene.table(
            "users",
            &format!("id bigint PRIMARY KEY, name text, email text, created_at timestamptz{more}"),
        );
        let subscriber = Self { publisher: publisher.database.clone(), scene };
        subscriber.admin().run(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION '{to}' PUBLICATION {publication}
                 WITH (slot_name = '{name}')",
            name = subscriber.name(),
            to = publisher.cluster.conn_string(SUPERUSER, &publisher.database),
        ));
        subscriber
    }

    fn until_copied(&self) {
        self.scene
            .until("SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    }

    fn name(&self) -> String {
        format!("{}_{}", self.publisher, self.scene.database)
    }

    fn admin(&self) -> Person {
        self.scene.admin()
    }

    fn switch(&self, on: bool) {
        let how = if on { "ENABLE" } else { "DISABLE" };
        self.admin().run(&format!("ALTER SUBSCRIPTION {} {how}", self.name()));
        self.scene.until(&format!(
            "SELECT (pid IS NOT NULL) = {on} FROM pg_stat_subscription WHERE subname = '{}'
                 AND relid IS NULL",
            self.name()
        ));
    }

    /// Waits until everything that is committed now has arrived.
    fn catch_up(&self, publisher: &Scene) {
        let end = publisher.admin().text("SELECT pg_current_wal_insert_lsn()");
        publisher.until(&format!(
            "SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots
             WHERE slot_name = '{}'",
            self.name()
        ));
    }

    /// What was written is what has arrived, change by change, and row by row.
    #[track_caller]
    fn assert_exact(&self, publisher: &Scene) {
        self.assert_same(publisher, &[CHANGES, ROWS]);
    }

    #[track_caller]
    fn assert_same(&self, publisher: &Scene, queries: &[&str]) {
        self.catch_up(publisher);
        let (mut there, mut here) = (publisher.admin(), self.admin());
        for query in queries {
            let (sent, received) = (there.list(query), here.list(query));
            assert!(sent == received, "{}: {}", self.name(), first_apart(&sent, &received));
        }
    }
}

impl Drop for Subscriber {
    /// A slot would keep WAL, and the database from being dropped.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.admin().run(&format!("DROP SUBSCRIPTION {}", self.name()));
        }
    }
}

/// Where two sorted lists part, in words.
fn first_apart(sent: &[String], received: &[String]) -> String {
    let at = sent.iter().zip(received).take_while(|(one, other)| one == other).count();
    format!(
        "{} sent, {} received; apart from number {at}: {:?} against {:?}",
        sent.len(),
        received.len(),
        sent.get(at),
        received.get(at)
    )
}

fn write(scene: &Scene) -> Writers {
    let schema = Schema::users();
    journal::open(&mut scene.admin().client, &schema, "app").unwrap();
    let workload = Workload { writers: 4, pace: Some(60.0), seed: seed(), ..Workload::default() };
    println!("BLUEGREEN_SEED={}", workload.seed);
    Writers::start(&scene.cluster.config("app", &scene.database), &schema, &workload).unwrap()
}

#[test]
fn a_subscriber_receives_each_change_once_across_swap_and_revert() {
    let scene = Scene::in_cluster(publishers());
    scene.add_users(500);
    scene.admin().run(
        "CREATE PUBLICATION by_name FOR TABLE users;
         CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA public",
    );
    // The column is there before it is sent.
    let subscribers = ["by_name", "by_schema"].map(|p| Subscriber::new(&scene, p, ", phone text"));
    scene.admin().run(NOTES);
    let writers = write(&scene);
    let mut owner = scene.owner();
    let exact = |when: &str| {
        writers.wait_for(50);
        writers.pause();
        println!("{when}: {} changes", scene.admin().int("SELECT count(*) FROM notes.change"));
        subscribers.iter().for_each(|s| s.assert_exact(&scene));
        writers.go_on();
    };

    writers.wait_for(50);
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.sync();
    exact("ready");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.app().run("UPDATE users SET phone = '1' WHERE id = (SELECT min(id) FROM users)");
    exact("swapped");
    revert_under_load(&mut owner);
    exact("reverted");
    // Decoded afterwards, when the tables have other names again.
    subscribers.iter().for_each(|s| s.switch(false));
    writers.wait_for(50);
    owner.run("CALL bg_run('users', 'swapped')");
    writers.wait_for(50);
    revert_under_load(&mut owner);
    writers.wait_for(50);
    owner.run("CALL bg_run('users', 'swapped')");
    writers.wait_for(50);
    owner.sync();
    owner.run("SELECT bg_finish('users')");
    writers.wait_for(50);
    subscribers.iter().for_each(|s| s.switch(true));
    exact("finished");

    writers.stop().check().unwrap();
    let mut admin = scene.admin();
    journal::balance(&mut admin.client, &Schema::users()).unwrap().check().unwrap();
}

/// The first copy of a subscription reads the table as it was when it began.
#[test]
fn a_subscription_that_begins_at_a_swap_has_every_row() {
    let scene = Scene::in_cluster(publishers());
    scene.add_users(2_000);
    scene.admin().run("CREATE PUBLICATION p FOR TABLE users");
    let writers = write(&scene);
    let mut owner = scene.owner();
    owner.make_ready("ALTER COLUMN name SET STATISTICS 10");
    let mut subscribers = Vec::new();
    for _ in 0..3 {
        std::thread::scope(|threads| {
            let begun = threads.spawn(|| Subscriber::begin(&scene, "p", ""));
            owner.run("CALL bg_run('users', 'swapped')");
            revert_under_load(&mut owner);
            subscribers.push(begun.join().unwrap());
        });
        owner.run("CALL bg_run('users', 'swapped')");
        subscribers.iter().for_each(Subscriber::until_copied);
        revert_under_load(&mut owner);
    }
    writers.stop().check().unwrap();
    subscribers.iter().for_each(|s| s.assert_same(&scene, &[ROWS]));
}

/// A session that speaks the replication protocol, as the first copy of a subscription does.
struct FirstCopy {
    psql: Child,
    says: ChildStdin,
}

impl FirstCopy {
    /// Asks for a slot and for the snapshot of the moment at which it begins.
    fn begin(scene: &Scene) -> Self {
        let to = scene.cluster.conn_string(SUPERUSER, &scene.database);
        let mut psql = scene
            .cluster
            .command("psql")
            .args(["-X", "-q", "-A", "-t", &format!("{to} replication=database")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = psql.stdin.take().unwrap();
        writeln!(says, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;").unwrap();
        let slot = format!("first_copy_of_{}", scene.database);
        writeln!(says, "CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput USE_SNAPSHOT;")
            .unwrap();
        Self { psql, says }
    }

    /// Waits for the slot to be there.
    fn until_begun(scene: &Scene) {
        scene.until(
            // Not between BEGIN and the command that makes the slot.
            "SELECT count(*) = 1 FROM pg_stat_activity a JOIN pg_replication_slots s ON s.active_pid = a.pid
              WHERE a.backend_type = 'walsender' AND a.datname = current_database()
                AND a.state = 'idle in transaction' AND s.confirmed_flush_lsn IS NOT NULL",
        );
    }

    /// Waits until making the slot waits for the transaction of `pid`.
    fn until_waiting_for(scene: &Scene, pid: i32) {
        scene.until(&format!(
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'walsender'
                 AND datname = current_database() AND {pid} = ANY (pg_blocking_pids(pid))"
        ));
    }

    fn pid(scene: &Scene) -> String {
        scene.admin().text(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'
                 AND datname = current_database()",
        )
    }

    /// The names in `users`, as it saw them.
    fn end(mut self) -> String {
        writeln!(self.says, "COPY (SELECT name FROM public.users ORDER BY id) TO STDOUT;").unwrap();
        drop(self.says);
        String::from_utf8(self.psql.wait_with_output().unwrap().stdout).unwrap()
    }
}

#[test]
fn a_swap_waits_for_the_first_copy_of_a_subscription_and_names_it() {
    let scene = Scene::in_cluster(publishers());
    scene.add_users(10);
    scene.admin().run("CREATE PUBLICATION p FOR TABLE users");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let copy = FirstCopy::begin(&scene);
    FirstCopy::until_begun(&scene);
    let pid = FirstCopy::pid(&scene);
    scene.app().run("UPDATE users SET name = 'changed' WHERE id = 1");
    owner.sync_without_history("users");

    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '300 ms')");
    refusal.assert_is("55P03", &["users", "older than the last large sync"]);
    assert!(refusal.message.contains(&format!("pid {pid}")), "{refusal:?}");
    assert_eq!(owner.list("SELECT pid FROM bg_blockers('users')"), [pid]);

    assert!(copy.end().contains("First Last1\n"));
    owner.swap();
}

/// Its slot was not ready when the swap looked for old snapshots, and does not wait for the swap.
#[test]
fn a_swap_does_not_pass_a_first_copy_that_began_while_it_waited_for_its_locks() {
    let scene = Scene::in_cluster(publishers());
    scene.add_users(10);
    scene.admin().run("CREATE PUBLICATION p FOR TABLE users");
    scene.owner().make_ready("ADD COLUMN phone text");
    let begin = |sql: &str| {
        let mut person = scene.app();
        person.run(&format!("BEGIN; {sql}"));
        person
    };
    let mut first = begin("SELECT txid_current()");
    let copy = FirstCopy::begin(&scene);
    FirstCopy::until_waiting_for(&scene, first.pid());
    let mut second = begin("SELECT txid_current()");
    first.run("COMMIT");
    FirstCopy::until_waiting_for(&scene, second.pid());

    let mut reader = begin("SELECT FROM users");
    let swap = scene.send("owner", "SELECT bg_swap('users', retry_for => '30 s')");
    scene.until_queued(1);
    scene.app().run("UPDATE users SET name = 'late' WHERE id = 1");
    second.run("COMMIT");
    FirstCopy::until_begun(&scene);
    reader.run("COMMIT");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!swap.is_done(), "the tables were swapped under the copy");
    let names = copy.end();
    assert!(names.contains("late\n"), "{names}");
    swap.done();

    let mut owner = scene.owner();
    owner.sync();
    let mut third = begin("SELECT txid_current()");
    let copy = FirstCopy::begin(&scene);
    FirstCopy::until_waiting_for(&scene, third.pid());
    let refusal = owner.refused("SELECT bg_revert('users', retry_for => '300 ms')");
    refusal.assert_is("55P03", &["could not swap public.users", "first copy of a subscription"]);
    third.run("COMMIT");
    copy.end();
    owner.revert();
}

/// What a subscriber lacks stops it, not the swap; with the column there it goes on where it was.
#[test]
fn a_subscriber_without_the_new_columns_stops_and_loses_nothing() {
    let scene = Scene::in_cluster(publishers());
    scene.add_users(20);
    scene.admin().run("CREATE PUBLICATION p FOR TABLE users");
    let subscriber = Subscriber::new(&scene, "p", "");
    scene.admin().run(NOTES);
    let mut owner = scene.owner();
    let changes = "ADD COLUMN phone text, RENAME COLUMN name TO full_name";
    let warned = format!(
        "SELECT object || ': ' || message FROM bg_check('users', '{changes}') WHERE code = 'subscriber'"
    );
    let found = owner.list(&warned).join("\n");
    assert!(found.contains("phone: ") && found.contains("name: "), "{found}");

    scene.admin().run("DROP TRIGGER note ON users");
    owner.make_ready(changes);
    owner.swap();
    scene.app().run("UPDATE users SET full_name = 'new', phone = '1' WHERE id = 1");
    let failed = "missing replicated columns: \"full_name\", \"phone\"";
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(subscribers().log_file()).unwrap().contains(failed) {
        assert!(Instant::now() < deadline, "{}", subscribers().log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.app().run("INSERT INTO users (id, email, phone) VALUES (100, 'e', '2')");
    subscriber.admin().run(
        "DROP TRIGGER note ON users; ALTER TABLE users ADD COLUMN phone text;
         ALTER TABLE users RENAME COLUMN name TO full_name",
    );
    const NEW: &str =
        "SELECT ROW(id, full_name, email, created_at, phone)::text FROM users ORDER BY id";
    subscriber.assert_same(&scene, &[NEW]);
    // The rename is undone with the table, and has to be there too.
    owner.revert();
    subscriber.admin().run("ALTER TABLE users RENAME COLUMN full_name TO name");
    scene
        .app()
        .run("UPDATE users SET name = 'newer' WHERE id = 100; DELETE FROM users WHERE id = 2");
    subscriber.assert_same(&scene, &[ROWS]);
}
