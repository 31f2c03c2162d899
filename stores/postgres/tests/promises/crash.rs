//! The server is killed under load: nothing that was acknowledged is lost, and the store comes back
//! by itself.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::thread;

use conveyor_core::End;
use conveyor_core::store::{Durability, EndState, Settled};
use conveyor_test_servers::Options;
use futures::executor::block_on;

use super::*;

/// How often the server is killed, and how many tasks are accepted and settled in between.
const KILLS: usize = 4;
const BETWEEN: usize = 20;

/// What the callers were told.
#[derive(Default)]
struct Acknowledged {
    accepted: Mutex<BTreeSet<TaskId>>,
    settled: Mutex<BTreeSet<TaskId>>,
    over: AtomicBool,
}

impl Acknowledged {
    /// Waits until more was accepted, and more was settled.
    fn goes_on(&self) {
        let count = || [&self.accepted, &self.settled].map(|done| done.lock().unwrap().len());
        let (before, start) = (count(), Instant::now());
        while count().iter().zip(before).any(|(&now, before)| now < before + BETWEEN) {
            assert!(start.elapsed() < PROMPT * 3, "it stands still at {:?}", count());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn go_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Offers each task until it is accepted.
    fn produce(&self, store: &PostgresStore) {
        while self.go_on() {
            let batch: Vec<NewTask> = (0..3).map(|_| new_task()).collect();
            let reply = loop {
                match block_on(store.enqueue(batch.clone())) {
                    Ok(reply) => break reply,
                    Err(_) if self.go_on() => thread::sleep(Duration::from_millis(5)),
                    Err(_) => return,
                }
            };
            assert!(reply.iter().all(|reply| matches!(reply, Enqueued::Accepted)), "{reply:?}");
            self.accepted.lock().unwrap().extend(batch.iter().map(|task| task.id));
        }
    }

    /// Claims and settles; each claim and settle until it is answered.
    fn consume(&self, store: &PostgresStore, by: Incarnation) {
        while self.go_on() {
            let kinds = [KindRoom { kind: WORK, room: 5 }];
            let demand =
                Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room: 5 };
            let request = ClaimRequest { by, token: number(), lease: LEASE, demand, alone: false };
            let claimed = loop {
                match block_on(store.claim(request)) {
                    Ok(claim) => break claim.tasks,
                    Err(_) if self.go_on() => thread::sleep(Duration::from_millis(5)),
                    Err(_) => return,
                }
            };
            let batch: Vec<Settle> =
                claimed.iter().map(|claimed| settle(claimed, Verdict::Succeed)).collect();
            let settled = loop {
                match block_on(store.settle(batch.clone())) {
                    Ok(settled) => break settled,
                    Err(_) if self.go_on() => thread::sleep(Duration::from_millis(5)),
                    Err(_) => return,
                }
            };
            assert!(settled.iter().all(|settled| *settled != Settled::Fenced), "{settled:?}");
            self.settled.lock().unwrap().extend(ids(&claimed));
        }
    }
}

#[test]
fn what_was_acknowledged_outlives_the_death_of_the_server() {
    // A server that writes through, as one does that is not told otherwise.
    let mut server = Postgres::start(Options::new()).unwrap();
    let store = block_on(PostgresStore::open(&server.url())).unwrap();
    assert_eq!(block_on(store.durability()).unwrap(), Durability::PowerLoss);
    let told = Acknowledged::default();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| told.produce(&store));
        }
        for by in [1, 2] {
            let (told, store) = (&told, &store);
            scope.spawn(move || told.consume(store, Incarnation::new(by)));
        }
        for _ in 0..KILLS {
            told.goes_on();
            server.kill().unwrap();
            server.restart().unwrap();
        }
        told.goes_on();
        told.over.store(true, Ordering::SeqCst);
    });
    let accepted: Vec<TaskId> = told.accepted.lock().unwrap().iter().copied().collect();
    let settled: Vec<TaskId> = told.settled.lock().unwrap().iter().copied().collect();
    let lost = block_on(store.ends(&accepted)).unwrap();
    let lost = lost.iter().filter(|end| **end == EndState::Gone).count();
    assert_eq!(lost, 0, "of {} accepted", accepted.len());
    let ends = block_on(store.ends(&settled)).unwrap();
    let undone = ends.iter().filter(|end| **end != EndState::Ended(End::Succeeded)).count();
    assert_eq!(undone, 0, "of {} settled", settled.len());
    eprintln!("{} accepted, {} settled, {KILLS} kills, 0 lost", accepted.len(), settled.len());
}
