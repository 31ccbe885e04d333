//! A table with parents, children and views, swapped and reverted while all of them are in use: no
//! client gets an error, and what was written is there, by an account kept in the same transactions.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::story::{Person, Stage, course, stage};

static STAGE: Stage = stage!();

const FAMILY: &str = "
    CREATE TABLE teams (id int PRIMARY KEY, members bigint NOT NULL DEFAULT 0);
    INSERT INTO teams SELECT n FROM generate_series(1, 5) n;
    ALTER TABLE users ADD COLUMN team int NOT NULL DEFAULT 1 REFERENCES teams,
        ADD COLUMN boss bigint REFERENCES users ON DELETE SET NULL;
    CREATE TABLE posts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        author bigint NOT NULL REFERENCES users ON DELETE CASCADE ON UPDATE CASCADE, body text);
    CREATE TABLE account (users bigint, posts bigint, seen bigint);
    CREATE TABLE seen (what text, who bigint);
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO seen VALUES (TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL; END $$;
    CREATE TRIGGER see AFTER INSERT OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION see();
    CREATE VIEW low AS SELECT id, name, email, team FROM users;
    CREATE VIEW per_team AS SELECT t.id, count(l.id) AS n FROM teams t LEFT JOIN low l ON l.team = t.id GROUP BY t.id;
    CREATE FUNCTION label(u users) RETURNS text LANGUAGE sql STABLE AS $$ SELECT u.name || u.id $$;
    CREATE POLICY of_authors ON posts USING (author IN (SELECT u.id FROM users u) OR true);
    ALTER TABLE users ENABLE ROW LEVEL SECURITY;
    CREATE POLICY every_row ON users USING (true) WITH CHECK (true);
    ALTER VIEW low OWNER TO owner; ALTER VIEW per_team OWNER TO owner;
    ALTER TABLE teams OWNER TO owner; ALTER TABLE posts OWNER TO owner;
    GRANT SELECT, INSERT, UPDATE, DELETE ON teams, posts, account, seen, low, per_team TO app, owner";

/// Writers and readers of one session each; what they do is chosen by turns.
fn work(app: &mut Person, number: i64, stop: &AtomicBool, done: &AtomicI64) {
    let mut id = 1_000_000 * (number + 1);
    while !stop.load(Ordering::SeqCst) {
        id += 1;
        app.run(&format!(
            "BEGIN;
             INSERT INTO users (id, name, email, team, boss) VALUES ({id}, 'n', 'm{id}', 1 + {id} % 5, 1);
             INSERT INTO posts (author, body) VALUES ({id}, 'a'), ({id}, 'b');
             INSERT INTO account VALUES (1, 2, 1);
             COMMIT"
        ));
        // Children first, then the parent; and through the view.
        app.run(&format!(
            "BEGIN;
             INSERT INTO posts (author, body) SELECT {id}, 'c';
             UPDATE low SET name = 'by view' WHERE id = {id};
             INSERT INTO account VALUES (0, 1, 0);
             COMMIT"
        ));
        app.run(&format!(
            "SELECT label(u), p.n FROM users u, per_team p WHERE u.id = {id} AND p.id = u.team"
        ));
        if id % 3 == 0 {
            app.run(&format!(
                "BEGIN; DELETE FROM users WHERE id = {id}; INSERT INTO account VALUES (-1, -3, 1); COMMIT"
            ));
        } else if id % 3 == 1 {
            // Rolled back: nothing of it may be anywhere.
            app.run(&format!(
                "BEGIN; DELETE FROM posts WHERE author = {id}; DELETE FROM low WHERE id = {id}; ROLLBACK"
            ));
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
}

fn balance(admin: &mut Person, when: &str) {
    let apart = "SELECT (SELECT count(*) FROM users) - 50 - (SELECT coalesce(sum(users), 0) FROM account)
        || ' ' || (SELECT count(*) FROM posts) - (SELECT coalesce(sum(posts), 0) FROM account)
        || ' ' || (SELECT count(*) FROM seen) - (SELECT coalesce(sum(seen), 0) FROM account)
        || ' ' || (SELECT sum(n) FROM per_team) - (SELECT count(*) FROM users)
        || ' ' || (SELECT count(*) FROM posts p WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = p.author))";
    assert_eq!(
        admin.text(apart),
        "0 0 0 0 0",
        "{when}: users, posts, trigger calls, view, orphans"
    );
}

#[test]
fn a_family_in_use_is_swapped_and_reverted_without_an_error_or_a_loss() {
    let scene = STAGE.users(50);
    scene.admin().run(FAMILY);
    let mut admin = scene.admin();
    let mut owner = scene.owner();
    owner.run("SET bluegreen.max_final_drain = '2 s'");
    let (stop, done) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|threads| {
        let workers: Vec<_> = (0..4)
            .map(|number| {
                let mut app = scene.app();
                let (stop, done) = (&stop, &done);
                threads.spawn(move || work(&mut app, number, stop, done))
            })
            .collect();
        let play = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text, ALTER COLUMN team TYPE bigint')");
            owner.sync();
            let until = Instant::now() + Duration::from_secs(8);
            let mut swaps = 0;
            while Instant::now() < until || swaps < 3 {
                owner.run("CALL bg_run('users', 'swapped')");
                course::revert_under_load(&mut owner);
                owner.run("CALL bg_run('users')");
                swaps += 1;
            }
            println!(
                "{swaps} swaps and reverts, {} rounds of writers",
                done.load(Ordering::SeqCst)
            );
            owner.run("CALL bg_run('users', 'swapped')");
        }));
        stop.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.join().expect("a client had an error");
        }
        if let Err(panic) = play {
            std::panic::resume_unwind(panic);
        }
    });
    balance(&mut admin, "swapped");
    owner.run("SELECT bg_revert('users')");
    balance(&mut admin, "reverted");
    owner.run("CALL bg_run('users', 'finished')");
    balance(&mut admin, "finished");
    assert!(done.load(Ordering::SeqCst) > 50, "hardly anything was written");
    assert_eq!(
        admin.int("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated"),
        0
    );
}
