//! Memory stays flat, however many tasks come and go.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use conveyor::prelude::*;
use conveyor::{ManagerBuilder, Retention};
use conveyor_testkit::simulate;
use conveyor_tests::consumer;

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only a number is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn builder() -> ManagerBuilder {
    Manager::builder().register(consumer("work", |_: u64, _: Context| async {}, |_| {}))
}

async fn run(manager: &Manager, tasks: u64) {
    for first in (0..tasks).step_by(1_000) {
        let keyed = (first..first + 1_000)
            .map(|number| Task::new("work", number).key(format!("key {number}")));
        let mut last = None;
        for receipt in manager.enqueue_all(keyed).await {
            last = Some(receipt.unwrap());
        }
        last.unwrap().wait().await.unwrap();
        while manager.metrics().live() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// One test, since the bytes are the process's: another beside it would be counted too.
#[test]
fn a_million_tasks_leave_as_much_behind_as_a_tenth_of_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = builder().build().unwrap();
        manager.start().await.unwrap();
        // Beyond the ten thousand ends that are kept.
        run(&manager, 100_000).await;
        let before = IN_USE.load(Ordering::SeqCst);
        run(&manager, 900_000).await;
        let grown = IN_USE.load(Ordering::SeqCst) - before;
        assert_eq!(manager.metrics().processed, 1_000_000);
        assert!(grown < 512 * 1024, "{grown} bytes more are in use");
    });

    // A burst of everything at once is given back too, and so are the ends that nobody keeps.
    simulate(1, |sim| async move {
        let retention = Retention { count: 0, ..Retention::default() };
        let manager = builder().runtime(sim.runtime()).retention(retention).build().unwrap();
        manager.start().await.unwrap();
        manager.enqueue(Task::new("work", 0u64)).await.unwrap().wait().await.unwrap();
        let before = IN_USE.load(Ordering::SeqCst);
        manager.pause("default").await.unwrap();
        let burst = (0..100_000u64).map(|number| Task::new("work", number).key(number.to_string()));
        assert!(manager.enqueue_all(burst).await.iter().all(Result::is_ok));
        let full = IN_USE.load(Ordering::SeqCst) - before;
        manager.resume("default").await.unwrap();
        sim.run_until_idle().await;
        assert_eq!(manager.metrics().live(), 0);
        let left = IN_USE.load(Ordering::SeqCst) - before;
        assert!(left < full / 20, "{left} of {full} bytes are left");
    });
}
