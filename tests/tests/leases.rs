//! Leases: what a process holds is its own while it lives, and others' when it is gone.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::Arc;
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Cancelled, Incarnation, Kind, ManagerBuilder, MemoryStore, QueueName, Store};
use conveyor_core::store::{ClaimRequest, Claimed, Demand, KindRoom, Settle, Settled, Verdict};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// What was seen: who, when, and that it began or ended.
type Seen = Log<(u32, Duration, &'static str)>;

fn worker(sim: &Sim, log: &Seen) -> impl Worker {
    let (sim, log) = (sim.clone(), log.clone());
    consumer(
        "work",
        move |number: u32, ctx: Context| {
            let (sim, log) = (sim.clone(), log.clone());
            async move {
                log.push((number, sim.elapsed(), "begin"));
                ctx.sleep(SECOND).await;
                log.push((number, sim.elapsed(), "end"));
            }
        },
        |_| {},
    )
}

fn store(sim: &Sim) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(sim.clock()).shared_by_managers())
}

fn builder(sim: &Sim, log: &Seen, store: &Arc<MemoryStore>) -> ManagerBuilder {
    Manager::builder()
        .runtime(sim.runtime())
        .store(store.clone())
        .lease(LEASE)
        .register(worker(sim, log))
        .consumers(4)
}

/// Claims like a process that then dies: it never settles and never renews.
async fn claim_and_die(store: &MemoryStore, process: u64, room: usize) -> Vec<Claimed> {
    let kinds = [KindRoom { kind: Kind::from_static("work"), room }];
    let queues = [QueueName::DEFAULT];
    let demand = Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room };
    let request = ClaimRequest {
        by: Incarnation::new(process),
        token: process,
        lease: LEASE,
        demand,
        alone: false,
    };
    let mut claimed = store.claim(request).await.unwrap().tasks;
    if claimed.is_empty() {
        let request = ClaimRequest { alone: true, token: process + 1_000, ..request };
        claimed = store.claim(request).await.unwrap().tasks;
    }
    claimed
}

async fn enqueue(manager: &Manager, numbers: std::ops::Range<u32>) -> Vec<conveyor::Receipt> {
    let answers = manager.enqueue_all(numbers.map(|number| Task::new("work", number))).await;
    answers.into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_lone_claim_of_a_dead_process_runs_again_and_is_charged() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let manager = builder(&sim, &log, &store).build().unwrap();
            let receipts = enqueue(&manager, 0..1).await;
            assert_eq!(claim_and_die(&store, 7, 1).await.len(), 1);
            manager.start().await.unwrap();
            assert_eq!(receipts[0].wait().await, Ok(End::Succeeded));
            assert!(sim.elapsed() >= LEASE, "not while the other may live");
            assert!(sim.elapsed() <= LEASE * 4, "but soon after: {:?}", sim.elapsed());
        });
    });
}

#[test]
fn a_task_that_dies_alone_again_and_again_ends_as_crashed() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let manager = builder(&sim, &log, &store).crash_budget(3).build().unwrap();
            let receipts = enqueue(&manager, 0..1).await;
            // The manager only rescues: its own consumers must not be the ones that claim.
            manager.unregister("work");
            manager.start().await.unwrap();
            for process in 1..=3 {
                while claim_and_die(&store, process, 1).await.is_empty() {
                    sim.advance(SECOND).await;
                }
            }
            assert_eq!(receipts[0].wait().await, Ok(End::Crashed));
            let metrics = manager.metrics();
            assert_eq!((metrics.crashed, metrics.live(), metrics.failed), (1, 0, 0));
        });
    });
}

#[test]
fn bystanders_are_not_charged_but_run_alone() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let manager = builder(&sim, &log, &store).crash_budget(1).build().unwrap();
            let suspects = enqueue(&manager, 0..5).await;
            assert_eq!(claim_and_die(&store, 7, 5).await.len(), 5);
            manager.start().await.unwrap();
            // Ordinary work goes on all the time.
            let mut ordinary = Vec::new();
            for number in 100..160 {
                ordinary.extend(enqueue(&manager, number..number + 1).await);
                sim.advance(SECOND).await;
            }
            for receipt in suspects.iter().chain(&ordinary) {
                assert_eq!(receipt.wait().await, Ok(End::Succeeded), "nobody is charged");
            }
            // While a suspect ran, nothing else did.
            let seen = log.all();
            for suspect in 0..5 {
                let at =
                    |what| seen.iter().position(|&(n, _, w)| (n, w) == (suspect, what)).unwrap();
                assert_eq!(at("end"), at("begin") + 1, "something ran beside {suspect}");
                let begun = &seen[..at("begin")];
                let running = begun.iter().filter(|(_, _, what)| *what == "begin").count()
                    - begun.iter().filter(|(_, _, what)| *what == "end").count();
                assert_eq!(running, 0, "{suspect} began beside something");
            }
        });
    });
}

#[test]
fn long_work_neither_hides_suspects_for_ever_nor_is_held_up_by_them() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let long = consumer(
                "long",
                |(): (), ctx: Context| async move {
                    ctx.sleep(SECOND * 120).await;
                },
                |_| {},
            );
            let manager = builder(&sim, &log, &store).register(long).build().unwrap();
            let suspects = enqueue(&manager, 0..2).await;
            claim_and_die(&store, 7, 2).await;
            manager.start().await.unwrap();
            manager.enqueue(Task::new("long", ())).await.unwrap();
            sim.advance(LEASE * 2 + SECOND * 5).await;
            // The process cannot go quiet yet; ordinary tasks do not wait for that for long.
            let ordinary = enqueue(&manager, 100..101).await;
            ordinary[0].wait().await.unwrap();
            assert!(sim.elapsed() < SECOND * 60, "at {:?}", sim.elapsed());
            for receipt in suspects {
                assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            }
        });
    });
}

/// A process that could not go quiet tries again later: meanwhile it works, for as long as it waited.
#[test]
fn after_waiting_in_vain_to_go_quiet_a_process_works_for_as_long_as_it_waited() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let long = consumer(
                "long",
                |(): (), ctx: Context| async move { ctx.sleep(SECOND * 600).await },
                |_| {},
            );
            let manager = builder(&sim, &log, &store).register(long).build().unwrap();
            enqueue(&manager, 0..2).await;
            claim_and_die(&store, 7, 2).await;
            manager.start().await.unwrap();
            manager.enqueue(Task::new("long", ())).await.unwrap();
            // It waits from the end of the lease on, for 10 seconds, and later for 20.
            for number in 0..40 {
                enqueue(&manager, 100 + number..101 + number).await;
                sim.advance(SECOND).await;
            }
            let begins = log.all().into_iter().filter(|(_, _, what)| *what == "begin");
            let at_once = begins.filter(|&(n, at, _)| n >= 115 && at - SECOND * (n - 100) < SECOND);
            // It works off what had to wait, too.
            let at_once = at_once.count();
            assert!(at_once >= 5, "{at_once} of what came in between began at once");
        });
    });
}

/// However many there are: the process waits for quiet only so long, but each that ran is progress.
#[test]
fn suspects_run_one_after_the_other_without_a_break() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let manager = builder(&sim, &log, &store).build().unwrap();
            let suspects = enqueue(&manager, 0..25).await;
            assert_eq!(claim_and_die(&store, 7, 25).await.len(), 25);
            manager.start().await.unwrap();
            for receipt in &suspects {
                assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            }
            let seen = log.all();
            let took = seen[seen.len() - 1].1 - seen[0].1;
            assert_eq!(took, SECOND * 25, "each takes a second");
        });
    });
}

/// A process that cannot go quiet for suspects need not, once another one has run them.
#[test]
fn who_waits_to_go_quiet_goes_on_soon_after_the_last_suspect_ran_elsewhere() {
    const POLL: Duration = SECOND;
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let takes = |kind, time| {
                consumer(
                    kind,
                    move |(): (), ctx: Context| async move { ctx.sleep(time).await },
                    |_| {},
                )
            };
            let busy = builder(&sim, &log, &store)
                .poll_interval(POLL)
                .register(takes("long", SECOND * 120))
                .register(takes("own", Duration::ZERO))
                .build()
                .unwrap();
            let other = builder(&sim, &log, &store).poll_interval(POLL).build().unwrap();
            let suspects = enqueue(&busy, 0..2).await;
            claim_and_die(&store, 7, 2).await;
            busy.start().await.unwrap();
            busy.enqueue(Task::new("long", ())).await.unwrap();
            sim.run_until_idle().await;
            other.start().await.unwrap();
            for receipt in suspects {
                assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            }
            let ran = sim.elapsed();
            busy.enqueue(Task::new("own", ())).await.unwrap().wait().await.unwrap();
            let later = sim.elapsed() - ran;
            assert!(later <= POLL * 2, "it claimed nothing for {later:?}");
        });
    });
}

/// The store has forgotten an attempt whose lease was lost, but its process has not.
#[test]
fn no_suspect_runs_beside_an_attempt_whose_lease_was_lost() {
    const LONG: u32 = 100;
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let (notes, clock) = (log.clone(), sim.clone());
            let stubborn = consumer(
                "stubborn",
                move |(): (), ctx: Context| {
                    let (log, sim) = (notes.clone(), clock.clone());
                    async move {
                        ctx.sleep(LEASE * 6).await;
                        assert_eq!(ctx.cancellation(), Some(Cancelled::LeaseLost));
                        log.push((LONG, sim.elapsed(), "end"));
                    }
                },
                |kind| _ = kind.cancel_grace(LEASE * 6),
            );
            let process = sim.process("worker");
            let manager = builder(&sim, &log, &store)
                .runtime(process.runtime())
                .poll_interval(SECOND)
                .register(stubborn)
                .build()
                .unwrap();
            let suspects = enqueue(&manager, 0..2).await;
            claim_and_die(&store, 7, 2).await;
            manager.start().await.unwrap();
            let long = manager.enqueue(Task::new("stubborn", ())).await.unwrap();
            sim.run_until_idle().await;
            // It is taken for dead by one who only looks after the others.
            process.pause();
            let rescuer = sim.manager_builder().store(store.clone()).lease(LEASE).crash_budget(1);
            let rescuer = rescuer.build().unwrap();
            rescuer.start().await.unwrap();
            assert_eq!(rescuer.wait(long.id()).await, Ok(End::Crashed));
            process.resume();
            for receipt in suspects {
                assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            }
            assert_eq!(log.all()[0].0, LONG, "a suspect ran beside it: {:?}", log.all());
        });
    });
}

#[test]
fn a_lease_is_renewed_for_as_long_as_its_handler_runs() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let long = || {
                consumer(
                    "long",
                    |(): (), ctx: Context| async move {
                        ctx.sleep(LEASE * 10).await;
                        assert_eq!(ctx.cancellation(), None);
                    },
                    |_| {},
                )
            };
            let first = builder(&sim, &log, &store).register(long()).build().unwrap();
            let second = builder(&sim, &log, &store).register(long()).build().unwrap();
            first.start().await.unwrap();
            second.start().await.unwrap();
            let receipt = first.enqueue(Task::new("long", ())).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            assert_eq!(sim.elapsed(), LEASE * 10, "it ran once, and nobody took it away");
            assert_eq!(first.metrics().returned, 0);
        });
    });
}

#[test]
fn a_handler_hears_that_its_lease_is_lost_and_what_it_returns_changes_nothing() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let told = Log::new();
            let heard = told.clone();
            let stubborn = consumer(
                "stubborn",
                move |(): (), ctx: Context| {
                    let heard = heard.clone();
                    async move {
                        heard.push(ctx.cancelled().await);
                    }
                },
                |_| {},
            );
            let manager = builder(&sim, &log, &store).register(stubborn).build().unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("stubborn", ())).await.unwrap();
            sim.run_until_idle().await;
            // Somebody settles in its name, as a rescue after a long silence would.
            let held = manager.inspect().page().await.unwrap().tasks.remove(0);
            let fence = conveyor::Fence {
                task: held.id,
                epoch: held.epoch,
                incarnation: held.holder.unwrap(),
            };
            let verdict = Verdict::Fail { error: "by another".to_owned() };
            let mut settle = Settle {
                fence,
                ticket: 0,
                verdict,
                children: Vec::new(),
                panicked: false,
                timed_out: false,
            };
            let mut settled = Vec::new();
            for ticket in 0..64 {
                settle.ticket = ticket;
                settled.extend(store.settle(vec![settle.clone()]).await.unwrap());
            }
            assert!(settled.contains(&Settled::Applied));
            sim.advance(LEASE).await;
            assert_eq!(told.all(), [Cancelled::LeaseLost]);
            assert_eq!(receipt.wait().await, Ok(End::Failed("by another".to_owned())));
            let metrics = manager.metrics();
            assert_eq!((metrics.failed, metrics.processed, metrics.live()), (1, 0, 0));
        });
    });
}

#[test]
fn a_shutdown_during_a_quarantine_ends_in_time_and_charges_nobody() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let (log, store) = (Seen::new(), store(&sim));
            let first = builder(&sim, &log, &store).crash_budget(1).build().unwrap();
            let suspects = enqueue(&first, 0..5).await;
            assert_eq!(claim_and_die(&store, 7, 5).await.len(), 5);
            first.start().await.unwrap();
            // Somewhere between the rescue, the wait for quiet, and the last of the suspects.
            sim.advance(LEASE + Duration::from_millis(sim.random() % 12_000)).await;
            enqueue(&first, 100..104).await;
            sim.advance(Duration::from_millis(sim.random() % 2_000)).await;
            let (at, grace) = (sim.elapsed(), Duration::from_millis(sim.random() % 800));
            let report = first.shutdown(grace).await.unwrap();
            let took = sim.elapsed() - at;
            assert!(took <= grace + Duration::from_millis(250), "{grace:?} took {took:?}");
            assert_eq!((report.abandoned, first.metrics().crashed), (0, 0));

            let second = builder(&sim, &log, &store).crash_budget(1).build().unwrap();
            second.start().await.unwrap();
            for receipt in &suspects {
                assert_eq!(second.wait(receipt.id()).await, Ok(End::Succeeded));
            }
            second.idle().await.unwrap();
            let metrics = second.metrics();
            assert_eq!((metrics.processed, metrics.crashed, metrics.live()), (9, 0, 0));
            drop((first, second));
            sim.run_until_idle().await;
            assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0), "{}", sim.describe_tasks());
        });
    });
}

#[test]
fn what_a_manager_before_left_behind_runs_also_in_a_store_that_is_not_shared() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let log = Seen::new();
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let manager = builder(&sim, &log, &store).build().unwrap();
            let receipts = enqueue(&manager, 0..1).await;
            // As a shutdown leaves the task of a handler that blocks.
            let left = claim_and_die(&store, 7, 1).await.remove(0);
            let settle = Settle {
                fence: left.fence,
                ticket: left.ticket,
                verdict: Verdict::Interrupt,
                children: Vec::new(),
                panicked: false,
                timed_out: false,
            };
            assert_eq!(store.settle(vec![settle]).await.unwrap(), [Settled::Applied]);
            manager.start().await.unwrap();
            sim.advance(LEASE * 4).await;
            assert_eq!(manager.metrics().live(), 0, "it is never taken back");
            assert_eq!(receipts[0].wait().await, Ok(End::Succeeded));
        });
    });
}
