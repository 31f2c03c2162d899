//! A private server keeps what it stored, whatever is done to it, and is gone in the end.
#![allow(missing_docs, reason = "a test's name says what it is for")]

use conveyor_test_servers::{Options, Postgres};

#[test]
fn a_server_keeps_what_was_committed_when_it_is_killed_and_started_again() {
    let mut server = Postgres::start(Options::new().set("work_mem", "5MB")).unwrap();
    assert_eq!(server.query("SHOW work_mem").unwrap(), "5MB");
    server.query("CREATE TABLE kept (n int)").unwrap();
    let url = server.url();
    for n in 0..3 {
        server.query(&format!("INSERT INTO kept VALUES ({n})")).unwrap();
        server.kill().unwrap();
        assert!(server.query("SELECT 1").is_err(), "it is down");
        server.restart().unwrap();
        assert_eq!(server.url(), url, "it is where it was");
    }
    server.stop().unwrap();
    assert!(server.query("SELECT 1").is_err(), "it is down");
    server.restart().unwrap();
    assert_eq!(server.query("SELECT count(*) FROM kept").unwrap(), "3");
}

#[test]
fn two_servers_share_nothing_and_leave_nothing() {
    let one = Postgres::start(Options::new()).unwrap();
    let two = Postgres::start(Options::new()).unwrap();
    assert_ne!(one.port(), two.port());
    one.create_database("mine").unwrap();
    assert!(two.query("CREATE DATABASE mine").is_ok(), "it is not there yet");
    let folder = one.query("SHOW data_directory").unwrap();
    assert!(std::path::Path::new(&folder).exists());
    let port = one.port();
    drop(one);
    assert!(!std::path::Path::new(&folder).exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn it_outlives_the_thread_that_started_it() {
    let start = || Postgres::start(Options::new()).unwrap();
    let server = std::thread::spawn(start).join().unwrap();
    assert_eq!(server.query("SELECT 1").unwrap(), "1");
}

#[test]
fn what_the_server_refuses_is_told() {
    let error = Postgres::start(Options::new().set("no_such_setting", "1")).unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}
