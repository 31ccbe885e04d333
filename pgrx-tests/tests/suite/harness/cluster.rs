//! The throwaway cluster itself: it starts, survives what tests do to it, and leaves nothing behind.

use bluegreen_tests::cluster::{Cluster, Options, SUPERUSER, Signal, StopMode};

#[test]
fn a_cluster_takes_settings_and_its_files_go_with_it() {
    let cluster = Cluster::start(&Options::default().set("work_mem", "5MB")).unwrap();
    let data = cluster.data().to_path_buf();

    assert_eq!(cluster.psql("SHOW work_mem").unwrap(), "5MB");
    assert_eq!(cluster.psql("SHOW is_superuser").unwrap(), "on");
    let error = cluster.psql("SELECT 1/0").unwrap_err().to_string();
    assert!(error.contains("division by zero"), "{error}");

    drop(cluster);
    assert!(!data.exists());
}

#[test]
fn an_owner_can_log_in_and_create_nothing() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    cluster.create_owner("app").unwrap();

    let mut app = cluster.connect("app", "postgres").unwrap();

    let error = app.batch_execute("CREATE TABLE public.t ()").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
}

#[test]
fn a_killed_backend_makes_the_server_recover_and_sessions_come_back() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let mut victim = cluster.connect(SUPERUSER, "postgres").unwrap();
    victim.batch_execute("CREATE TABLE t AS SELECT 1 AS n").unwrap();
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);

    cluster.kill_backend(pid, Signal::SIGKILL).unwrap();

    assert!(victim.batch_execute("SELECT 1").is_err());
    let mut again = cluster.connect(SUPERUSER, "postgres").unwrap();
    let n: i32 = again.query_one("SELECT n FROM t", &[]).unwrap().get(0);
    assert_eq!(n, 1);
}

#[test]
fn a_server_stopped_at_once_starts_again_with_what_was_committed() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    cluster.psql("CREATE TABLE t AS SELECT 1 AS n").unwrap();

    cluster.stop(StopMode::Immediate).unwrap();
    cluster.restart().unwrap();

    assert_eq!(cluster.psql("SELECT n FROM t").unwrap(), "1");
}
