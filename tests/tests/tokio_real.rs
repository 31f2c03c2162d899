//! On tokio itself, with threads and signals: told by events, without a clock.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use conveyor::prelude::*;
use conveyor_tests::consumer;

/// While one handler blocks its thread, the others have theirs.
#[test]
fn tasks_go_on_beside_a_handler_that_blocks_its_thread() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(3).enable_all().build().unwrap();
    let (entered, has_entered) = channel();
    let (release, released) = channel::<()>();
    let ends = Arc::new(Mutex::new((entered, released)));
    let blocks = consumer(
        "blocks",
        move |(): (), _: Context| {
            let ends = Arc::clone(&ends);
            async move {
                let ends = ends.lock().unwrap();
                ends.0.send(()).unwrap();
                // An error if the test is over: then there is nothing to wait for.
                let _ = ends.1.recv();
            }
        },
        |_| {},
    );
    let quick = consumer("quick", |_: u32, _: Context| tokio::task::yield_now(), |_| {});
    runtime.block_on(async {
        let manager =
            Manager::builder().register(blocks).register(quick).consumers(4).build().unwrap();
        manager.start().await.unwrap();
        let blocked = manager.enqueue(Task::new("blocks", ())).await.unwrap();
        tokio::task::spawn_blocking(move || has_entered.recv().unwrap()).await.unwrap();
        for number in 0..1_000u32 {
            let receipt = manager.enqueue(Task::new("quick", number)).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        }
        assert_eq!((manager.metrics().active, manager.metrics().processed), (1, 1_000));
        release.send(()).unwrap();
        assert_eq!(blocked.wait().await, Ok(End::Succeeded));
        manager.idle().await.unwrap();
    });
}

#[cfg(unix)]
#[test]
fn a_signal_to_stop_drains_the_process_and_its_exit_says_so() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    for signal in ["-TERM", "-INT"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_run_until_stopped"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let report = lines.next().unwrap().unwrap();
        assert_eq!(report, "finished 1 returned 0 abandoned 0 active 0 processed 1", "{signal}");
        assert!(child.wait().unwrap().success(), "{signal}");
    }
}
