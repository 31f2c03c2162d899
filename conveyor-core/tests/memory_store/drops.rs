//! Payloads are a user's code: whatever drops one may take long, call the store, or panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::Duration;

use conveyor_core::payload::AnyPayload;
use conveyor_core::store::{NewTask, ScheduleDefinition, Tick, Verdict};
use conveyor_core::{Fence, Kind, Schedule, Store};
use serde::{Deserialize, Serialize};

use crate::setup::{
    A, B, Set, Setup, cancel, done, every_verdict, fail, hand_back, retry, secs, settle, task,
};

/// A payload that calls its store when it is dropped, and panics then if it is told to.
#[derive(Default, Serialize, Deserialize)]
struct Lively {
    #[serde(skip)]
    store: Option<Weak<dyn Store>>,
    #[serde(skip)]
    dropped: Arc<AtomicUsize>,
    panics: bool,
}

impl Drop for Lively {
    fn drop(&mut self) {
        if let Some(store) = self.store.as_ref().and_then(Weak::upgrade) {
            done(store.counters());
            done(store.enqueue_one(task().kind("made by a drop")));
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
        assert!(!self.panics, "dropped");
    }
}

/// A store, and payloads for it.
struct Scene {
    s: Setup,
    dropped: Arc<AtomicUsize>,
    panics: bool,
}

impl Scene {
    fn lively(&self) -> NewTask {
        NewTask {
            payload: AnyPayload::new(Lively {
                store: Some(Arc::downgrade(&self.s.store)),
                dropped: self.dropped.clone(),
                panics: self.panics,
            }),
            ..task()
        }
    }

    fn tick(&self, from_state: bool, task: NewTask) {
        let name = Kind::from_static("work");
        let schedule = Schedule::every(secs(10)).expect("a period above 1 ms");
        let definition = ScheduleDefinition { name: name.clone(), schedule };
        let state = done(self.s.store.put_schedule(definition));
        let tick = Tick {
            name,
            revision: state.revision,
            from: if from_state { state.mark } else { state.now },
            to: state.now,
            task: Some(task),
        };
        done(self.s.store.tick(vec![tick]));
    }
}

/// What it is called, and how it goes.
type Way = (&'static str, fn(&Scene));

/// Everything that makes a store drop a payload, each of it once.
const WAYS: &[Way] = &[
    ("a duplicate", |x| {
        x.s.enqueue(task().key("k"));
        x.s.offer(x.lively().key("k"));
    }),
    ("a duplicate in a batch", |x| {
        x.s.enqueue(task().key("k"));
        done(x.s.store.enqueue(vec![x.lively().key("k"), task()]));
    }),
    ("a known id", |x| {
        let id = x.s.enqueue(task());
        x.s.offer(NewTask { id, ..x.lively() });
    }),
    ("a success", |x| ended_by(x, Verdict::Succeed)),
    ("a failure", |x| ended_by(x, fail())),
    ("a cancel by the handler", |x| ended_by(x, cancel())),
    ("a cancel by request", |x| {
        let id = x.s.enqueue(x.lively());
        done(x.s.store.cancel(&[id]));
    }),
    ("a cancelled retry", |x| cancelled_at(x, retry(secs(1)))),
    ("a cancelled hand-back", |x| cancelled_at(x, hand_back())),
    ("the last crash", |x| {
        x.s.keep_watch();
        x.s.enqueue(x.lively());
        drop(x.s.claim_one(A));
        for _ in 0..2 {
            x.s.rescue_after_death();
            drop(x.s.claim_suspect(A));
        }
        x.s.rescue_after_death();
    }),
    ("a child whose key is taken", |x| {
        x.s.enqueue(task().key("k"));
        let mut end = settle(&x.s.claim_one(A), hand_back());
        end.children = vec![x.lively().key("k")];
        x.s.settle_as(end);
    }),
    ("the child of a fenced settle", |x| {
        x.s.enqueue(task());
        let mut end = settle(&x.s.claim_one(A), Verdict::Succeed);
        end.fence = Fence { incarnation: B, ..end.fence };
        end.children = vec![x.lively()];
        x.s.settle_as(end);
    }),
    ("the child of a settle of an unknown task", |x| {
        x.s.enqueue(task());
        let mut end = settle(&x.s.claim_one(A), Verdict::Succeed);
        end.ticket = u64::MAX;
        end.children = vec![x.lively()];
        x.s.settle_as(end);
    }),
    ("the child of a repeated settle", |x| {
        x.s.enqueue(task());
        let mut end = settle(&x.s.claim_one(A), Verdict::Succeed);
        x.s.settle_as(end.clone());
        end.children = vec![x.lively()];
        x.s.settle_as(end);
    }),
    ("the child of an interruption", |x| {
        x.s.enqueue(task());
        let mut end = settle(&x.s.claim_one(A), Verdict::Interrupt);
        end.children = vec![x.lively()];
        x.s.settle_as(end);
    }),
    ("a tick of no schedule", |x| {
        let tick = Tick {
            name: Kind::from_static("nothing"),
            revision: 1,
            from: x.s.now(),
            to: x.s.now() + secs(1),
            task: Some(x.lively()),
        };
        done(x.s.store.tick(vec![tick]));
    }),
    ("a stale tick", |x| x.tick(false, x.lively())),
    ("a tick that overlaps", |x| {
        x.tick(true, task());
        x.s.advance(secs(10));
        x.tick(true, x.lively());
    }),
    ("a tick whose key is taken", |x| {
        x.s.enqueue(task().key("k"));
        x.tick(true, x.lively().key("k"));
    }),
];

fn ended_by(x: &Scene, verdict: Verdict) {
    x.s.enqueue(x.lively());
    let end = settle(&x.s.claim_one(A), verdict);
    x.s.settle_as(end);
}

fn cancelled_at(x: &Scene, verdict: Verdict) {
    x.s.enqueue(x.lively());
    let end = settle(&x.s.claim_one(A), verdict);
    done(x.s.store.cancel(&[end.fence.task]));
    x.s.settle_as(end);
}

/// Goes each way on a thread of its own, so that one that hangs is named.
fn every_way(panics: bool) {
    for &(way, go) in WAYS {
        let (told, hears) = mpsc::channel();
        thread::spawn(move || {
            let scene = Scene { s: Setup::new(), dropped: Arc::default(), panics };
            let went = catch_unwind(AssertUnwindSafe(|| go(&scene))).is_ok();
            scene.s.counts();
            _ = told.send((went, scene.dropped.load(Ordering::SeqCst)));
        });
        match hears.recv_timeout(Duration::from_secs(5)) {
            Ok(outcome) => assert_eq!(outcome, (true, 1), "{way}"),
            Err(_) => panic!("{way}: hangs"),
        }
    }
}

#[test]
fn a_payload_may_call_the_store_when_it_is_dropped() {
    every_way(false);
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_harms_nobody() {
    every_way(true);
}

#[test]
fn no_payload_is_dropped_while_its_task_is_live() {
    for verdict in every_verdict().into_iter().filter(|verdict| !verdict.is_end()) {
        let scene = Scene { s: Setup::new(), dropped: Arc::default(), panics: false };
        scene.s.enqueue(scene.lively());
        let end = settle(&scene.s.claim_one(A), verdict.clone());
        scene.s.settle_as(end);
        assert_eq!(scene.dropped.load(Ordering::SeqCst), 0, "{verdict:?}");
    }
}
