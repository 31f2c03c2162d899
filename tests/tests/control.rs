//! Control: what a manager can be told while it runs.

use std::time::Duration;

use conveyor::{
    BuildError, CancelReply, Cancelled, Context, End, Error, Filter, Manager, ManagerBuilder,
    Outcome, QueueName, Retention, Task, TaskState, WaitError,
};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn task(payload: u64) -> Task<u64> {
    Task::new("work", payload)
}

/// Takes as many seconds as its payload says.
async fn sleeps(length: u64, ctx: Context) {
    ctx.sleep(secs(length)).await;
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(3)
}

fn on_request() -> End {
    End::Cancelled("cancelled on request".to_owned())
}

#[test]
fn a_paused_queue_starts_nothing_until_it_is_resumed() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim).register(consumer("work", sleeps, |_| {})).build().unwrap();
            manager.start().await.unwrap();
            let running = manager.enqueue(task(5)).await.unwrap();
            sim.run_until_idle().await;
            for _ in 0..2 {
                manager.pause("default").await.unwrap();
            }
            let paused = manager.enqueue_all((0..2).map(|_| task(1))).await;
            let later = manager.enqueue(task(1).delay(secs(3))).await.unwrap();
            let other = manager.enqueue(task(1).queue("other")).await.unwrap();
            assert_eq!(other.wait().await, Ok(End::Succeeded));
            assert_eq!(sim.elapsed(), secs(1), "other queues go on");
            assert_eq!(running.wait().await, Ok(End::Succeeded), "what runs goes on");
            sim.advance(secs(95)).await;
            let counts = manager.metrics().queue("default");
            assert_eq!((counts.active, counts.queued, counts.processed), (0, 3, 1));
            manager.resume("default").await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(manager.metrics().active, 3, "all idle consumers are told");
            for receipt in paused {
                assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
            }
            later.wait().await.unwrap();
            assert_eq!(sim.elapsed(), secs(101));
            manager.resume("default").await.unwrap();
            assert!(manager.pause("").await.is_err());
        });
    });
}

#[test]
fn a_queue_can_be_paused_before_it_is_known_and_before_the_start() {
    simulate(7, |sim| async move {
        let manager = manager(&sim).register(consumer("work", sleeps, |_| {})).build().unwrap();
        manager.pause("later").await.unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(task(1).queue("later")).await.unwrap();
        sim.advance(secs(9)).await;
        assert_eq!(manager.metrics().queued, 1);
        manager.resume("later").await.unwrap();
        receipt.wait().await.unwrap();
        assert_eq!(sim.elapsed(), secs(10));
    });
}

/// Reacts to a cancel as its payload says, and logs why it was cancelled.
fn stubborn(log: &Log<Cancelled>) -> impl Fn(u64, Context) -> Attempt + use<> {
    let log = log.clone();
    move |how, ctx| {
        let log = log.clone();
        Box::pin(async move {
            let why = ctx.cancelled().await;
            assert!(ctx.is_cancelled());
            log.push(why);
            match how {
                0 => Ok(Outcome::success()),
                1 => Err("stopped".into()),
                2 => Ok(Outcome::snooze(secs(9))),
                3 => Ok(Outcome::cancel("as asked")),
                // It would not be retried, but the error is the stop's, not the handler's.
                4 => Err(Error::fatal("stopped for good")),
                _ => std::future::pending().await,
            }
        })
    }
}

type Attempt = futures::future::BoxFuture<'static, Result<Outcome, Error>>;

#[test]
fn a_running_task_is_told_of_its_cancel_and_ends_as_it_says() {
    for how in 0..6 {
        for_seeds(0..10, |seed| {
            simulate(seed, |sim| async move {
                let log = Log::new();
                let manager = manager(&sim)
                    .register(consumer("work", stubborn(&log), |kind| {
                        kind.cancel_grace(secs(7));
                    }))
                    .build()
                    .unwrap();
                manager.start().await.unwrap();
                let receipt = manager.enqueue(task(how)).await.unwrap();
                let bystander = manager.enqueue(task(how)).await.unwrap();
                sim.advance(secs(1)).await;
                for _ in 0..2 {
                    assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Requested));
                }
                let end = receipt.wait().await.unwrap();
                let (took, expected) = match how {
                    0 => (0, End::Succeeded),
                    3 => (0, End::Cancelled("as asked".to_owned())),
                    5 => (7, on_request()),
                    _ => (0, on_request()),
                };
                assert_eq!((sim.elapsed(), end), (secs(1 + took), expected), "{how}");
                assert_eq!(log.all(), [Cancelled::Requested]);
                let reply = manager.cancel(receipt.id()).await;
                assert_eq!(reply, Ok(CancelReply::AlreadyEnded));
                assert_eq!(manager.metrics().active, 1, "{bystander:?} goes on");
                assert_eq!((manager.metrics().retried, manager.metrics().snoozed), (0, 0));
                let filter = Filter { state: Some(TaskState::Ended), ..Filter::default() };
                let ended =
                    &manager.inspect().matching(filter.clone()).page().await.unwrap().tasks[0];
                assert_eq!(ended.budgets.interruptions, 0, "a cancel is none");
            });
        });
    }
}

#[test]
fn a_task_that_has_not_started_never_does_after_its_cancel() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let handler = {
                let log = log.clone();
                move |number: u64, ctx: Context| {
                    log.push(number);
                    sleeps(5, ctx)
                }
            };
            let manager = manager(&sim)
                .consumers(1)
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            manager.enqueue(task(0)).await.unwrap();
            sim.run_until_idle().await;
            let queued = manager.enqueue(task(1)).await.unwrap();
            let delayed = manager.enqueue(task(2).delay(secs(3))).await.unwrap();
            let unknown = manager.enqueue(Task::new("unknown", 3_u64)).await.unwrap();
            let last = manager.enqueue(task(4)).await.unwrap();
            for receipt in [&queued, &delayed, &unknown] {
                let waits = {
                    let receipt = receipt.clone();
                    let ends = Log::new();
                    let told = ends.clone();
                    sim.spawn("waiter", async move { told.push(receipt.wait().await) });
                    sim.run_until_idle().await;
                    ends
                };
                assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Cancelled));
                sim.run_until_idle().await;
                assert_eq!(waits.all(), [Ok(on_request())], "who waits is told at once");
            }
            last.wait().await.unwrap();
            sim.advance(secs(60)).await;
            assert_eq!(log.all(), [0, 4]);
            assert_eq!(manager.metrics().cancelled, 3);
            assert_eq!(manager.metrics().live(), 0);
        });
    });
}

/// What was claimed behind the task that cancels it is in nobody's hands yet, and takes nothing along.
#[test]
fn a_task_that_is_cancelled_between_its_claim_and_its_start_never_starts() {
    simulate(7, |sim| async move {
        let (log, victims) = (Log::new(), Log::new());
        let manager = Manager::builder().runtime(sim.runtime()).consumers(1).build().unwrap();
        let handler = {
            let (log, victims, manager) = (log.clone(), victims.clone(), manager.clone());
            move |number: u64, _: Context| {
                log.push(number);
                let (victims, manager) = (victims.clone(), manager.clone());
                async move {
                    if number == 7 {
                        for victim in victims.all() {
                            let reply = manager.cancel(victim).await;
                            assert_eq!(reply, Ok(CancelReply::Requested), "it is claimed");
                        }
                    }
                }
            }
        };
        manager.register(consumer("work", handler.clone(), |_| {})).unwrap();
        let limited = consumer("limited", handler, |kind| _ = kind.concurrency(1));
        manager.register(limited).unwrap();
        // The consumer claims 1, 2, 4 and 8 at once.
        manager.enqueue_all((0..9).map(task)).await;
        victims.push(manager.enqueue(task(9)).await.unwrap().id());
        victims.push(manager.enqueue(Task::new("limited", 10_u64)).await.unwrap().id());
        manager.enqueue(task(11)).await.unwrap();
        manager.start().await.unwrap();
        sim.run_until_idle().await;
        assert_eq!(log.all(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 11]);
        for victim in victims.all() {
            assert_eq!(manager.wait(victim).await, Ok(on_request()));
        }
        // Its permit was given back.
        let limited = manager.enqueue(Task::new("limited", 12_u64)).await.unwrap();
        assert_eq!(limited.wait().await, Ok(End::Succeeded));
        assert_eq!((manager.metrics().cancelled, manager.metrics().live()), (2, 0));
    });
}

/// Cancels at every instant of short lives: each task has one end, and it is told.
#[test]
fn a_cancel_at_any_moment_leaves_one_end() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim).register(consumer("work", sleeps, |_| {})).build().unwrap();
            manager.start().await.unwrap();
            for _ in 0..20 {
                let delay = secs(sim.random() % 2);
                let receipt = manager.enqueue(task(sim.random() % 2).delay(delay)).await.unwrap();
                sim.advance(secs(sim.random() % 3)).await;
                let reply = manager.cancel(receipt.id()).await.unwrap();
                let end = receipt.wait().await.unwrap();
                match reply {
                    CancelReply::Cancelled => assert_eq!(end, on_request()),
                    CancelReply::Requested => {}
                    CancelReply::AlreadyEnded => assert_eq!(end, End::Succeeded),
                    CancelReply::Unknown => panic!("{receipt:?} is unknown"),
                }
            }
            let metrics = manager.metrics();
            assert_eq!((metrics.live(), metrics.ended()), (0, 20));
        });
    });
}

#[test]
fn workers_come_and_go_while_the_manager_runs() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim).build().unwrap();
            manager.start().await.unwrap();
            sim.run_until_idle().await;
            assert!(!manager.unregister("work"));
            let first = manager.enqueue(task(5)).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(manager.metrics().parked, 1);
            manager.register(consumer("work", sleeps, |_| {})).unwrap();
            let twice = manager.register(consumer("work", sleeps, |_| {}));
            assert!(matches!(twice, Err(BuildError::RepeatedKind { .. })), "{twice:?}");
            sim.run_until_idle().await;
            assert_eq!(manager.metrics().active, 1);
            assert!(manager.unregister("work"));
            assert!(!manager.unregister("work"));
            let second = manager.enqueue(task(5)).await.unwrap();
            assert_eq!(first.wait().await, Ok(End::Succeeded), "what runs goes on");
            sim.advance(secs(95)).await;
            assert_eq!((manager.metrics().parked, manager.metrics().active), (1, 0));
            // Another worker, with a queue of its own, takes the kind over.
            let replaced = consumer("work", sleeps, |kind| _ = kind.queue("own"));
            manager.register(replaced).unwrap();
            assert_eq!(second.wait().await, Ok(End::Succeeded));
            assert_eq!(sim.elapsed(), secs(105));
            let third = manager.enqueue(task(0)).await.unwrap();
            assert_eq!(third.wait().await, Ok(End::Succeeded));
            assert_eq!(manager.metrics().queue("own").processed, 1);
        });
    });
}

/// What was claimed beside a task that takes the worker away is handed back, at no cost.
#[test]
fn a_kind_that_is_taken_away_is_not_started_from_what_was_claimed() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = Manager::builder().runtime(sim.runtime()).consumers(1).build().unwrap();
            let handler = {
                let (log, manager) = (log.clone(), manager.clone());
                move |number: u64, ctx: Context| {
                    log.push((number, ctx.attempt()));
                    if number == 50 {
                        manager.unregister("work");
                    }
                    async {}
                }
            };
            manager.register(consumer("work", handler, |_| {})).unwrap();
            manager.enqueue_all((0..100).map(task)).await;
            manager.start().await.unwrap();
            sim.advance(secs(60)).await;
            let started = u64::try_from(log.len()).unwrap();
            // The batch that was claimed when the worker was taken away may go on.
            assert!((51..=82).contains(&started), "{started}");
            let metrics = manager.metrics();
            assert_eq!((metrics.parked, metrics.active), (100 - started, 0));
            assert_eq!((metrics.processed, metrics.failed), (started, 0));
            let rest = log.clone();
            let handler = move |number: u64, ctx: Context| {
                rest.push((number, ctx.attempt()));
                async {}
            };
            manager.register(consumer("work", handler, |_| {})).unwrap();
            sim.advance(secs(60)).await;
            assert_eq!(log.all(), (0..100).map(|number| (number, 1)).collect::<Vec<_>>());
        });
    });
}

/// Permits go back to the worker that they were taken from, not to its successor.
#[test]
fn a_worker_that_is_replaced_while_its_tasks_are_claimed_keeps_its_limit() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = Manager::builder().runtime(sim.runtime()).consumers(2).build().unwrap();
            let limited = {
                let log = log.clone();
                move |(): (), ctx: Context| {
                    let log = log.clone();
                    async move {
                        log.push(1);
                        ctx.sleep(secs(1)).await;
                        log.push(-1);
                    }
                }
            };
            let limit = |kind: &mut conveyor_core::worker::KindDefinition| _ = kind.concurrency(1);
            let replaces = {
                let (manager, limited) = (manager.clone(), limited.clone());
                move |waits: bool, ctx: Context| {
                    let (manager, limited) = (manager.clone(), limited.clone());
                    async move {
                        if waits {
                            manager.unregister("limited");
                            manager.register(consumer("limited", limited, limit)).unwrap();
                            ctx.sleep(secs(1)).await;
                        }
                    }
                }
            };
            manager.register(consumer("limited", limited, limit)).unwrap();
            manager.register(consumer("replaces", replaces, |_| {})).unwrap();
            manager.register(consumer("work", sleeps, |_| {})).unwrap();
            // One consumer is busy; the other claims more and more of the cheap tasks at once, and
            // at last one that replaces the worker together with a task of that worker's.
            manager.enqueue(task(5)).await.unwrap();
            for _ in 0..8 {
                manager.enqueue(Task::new("replaces", false)).await.unwrap();
            }
            manager.enqueue(Task::new("replaces", true)).await.unwrap();
            for _ in 0..10 {
                manager.enqueue(Task::new("limited", ())).await.unwrap();
            }
            manager.start().await.unwrap();
            sim.advance(secs(60)).await;
            assert_eq!(manager.metrics().live(), 0);
            assert_eq!(log.all(), [1, -1].repeat(10), "one at a time");
        });
    });
}

#[test]
fn an_end_that_is_forgotten_or_never_was_is_unknown() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .retention(Retention { count: 0, age: secs(3_600) })
                .register(consumer("work", sleeps, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(task(1)).await.unwrap();
            let id = receipt.id();
            // Who waits before the end is told of it, though it is kept for nobody else.
            let waits = futures::future::join_all((0..100).map(|_| receipt.wait()));
            assert_eq!(waits.await, vec![Ok(End::Succeeded); 100]);
            assert_eq!(receipt.wait().await, Err(WaitError::Unknown { id }));
            assert_eq!(manager.wait(id).await, Err(WaitError::Unknown { id }));
            assert_eq!(manager.cancel(id).await, Ok(CancelReply::Unknown));
            assert_eq!(manager.inspect().page().await.unwrap().tasks, []);
            let cancelled = manager.enqueue(task(1).delay(secs(9))).await.unwrap();
            let mut waits = std::pin::pin!(cancelled.wait());
            assert!(futures::poll!(&mut waits).is_pending());
            manager.cancel(cancelled.id()).await.unwrap();
            assert_eq!(waits.await, Ok(on_request()));
        });
    });
}

#[test]
fn an_end_is_forgotten_once_it_is_older_than_it_is_kept() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .retention(Retention { count: 100, age: secs(90) })
                .register(consumer("work", sleeps, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(task(1)).await.unwrap();
            let id = receipt.id();
            sim.advance(secs(80)).await;
            assert_eq!(manager.wait(id).await, Ok(End::Succeeded));
            // Ends are looked through a minute after what is due is seen to.
            manager.enqueue(task(0).delay(secs(10))).await.unwrap();
            sim.advance(secs(80)).await;
            assert_eq!(manager.wait(id).await, Err(WaitError::Unknown { id }));
        });
    });
}

#[test]
fn many_waiters_are_all_told_of_the_very_end() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim).register(consumer("work", sleeps, |_| {})).build().unwrap();
            manager.start().await.unwrap();
            let told = Log::new();
            for number in 0..200 {
                let receipt = manager.enqueue(task(number % 5)).await.unwrap();
                for by_id in [true, false] {
                    let (manager, receipt, told) = (manager.clone(), receipt.clone(), told.clone());
                    let patience = secs(1 + sim.random() % 200);
                    let timer = sim.clone();
                    sim.spawn("waiter", async move {
                        let wait = async {
                            if by_id {
                                manager.wait(receipt.id()).await
                            } else {
                                receipt.wait().await
                            }
                        };
                        // Half of them give up first.
                        if by_id || timer.random().is_multiple_of(2) {
                            told.push(wait.await);
                        } else {
                            let patience = timer.advance(patience);
                            let wait = std::pin::pin!(wait);
                            futures::future::select(wait, std::pin::pin!(patience)).await;
                        }
                    });
                }
            }
            sim.advance(secs(1_000)).await;
            assert!(told.len() >= 200);
            assert!(told.all().iter().all(|end| *end == Ok(End::Succeeded)));
            // The loops and consumers are left, and nobody who waits.
            assert!(!sim.describe_tasks().contains("waiter"), "{}", sim.describe_tasks());
        });
    });
}

#[test]
fn inspect_lists_every_task_once_over_its_pages() {
    simulate(7, |sim| async move {
        let manager = manager(&sim).register(consumer("work", sleeps, |_| {})).build().unwrap();
        let mut ids = Vec::new();
        for number in 0..250 {
            let mut new = task(1).queue(["a", "b"][number % 2]);
            if number % 10 == 0 {
                new = new.delay(secs(60)).key(format!("k{number}"));
            }
            ids.push(manager.enqueue(new).await.unwrap().id());
        }
        ids.sort();
        for size in [0, 1, 7, 249, 250, 1_000] {
            let most = if size == 0 { 100 } else { size };
            let mut pages = manager.inspect().page_size(size);
            let mut found = Vec::new();
            while let Some(tasks) = pages.next_page().await.unwrap() {
                assert!((1..=most).contains(&tasks.len()));
                found.extend(tasks.iter().map(|task| task.id));
            }
            assert_eq!(found, ids, "by {size}");
            assert_eq!(pages.next_page().await.unwrap(), None, "it stays over");
            // By cursors, each of which comes back as a text.
            let mut found = Vec::new();
            let mut next = None;
            loop {
                let mut list = manager.inspect().page_size(size);
                if let Some(cursor) = &next {
                    list = list.after(String::as_str(cursor));
                }
                let page = list.page().await.unwrap();
                assert!(page.tasks.len() <= most);
                found.extend(page.tasks.iter().map(|task| task.id));
                let Some(cursor) = page.next else { break };
                assert_eq!(cursor.to_string().parse(), Ok(cursor));
                next = Some(cursor.to_string());
            }
            assert_eq!(found, ids, "by {size}");
        }
        let count = async |list: conveyor::Inspect| list.page_size(7).all().await.unwrap().len();
        let list = || manager.inspect();
        assert_eq!(count(list().queue("b")).await, 125);
        assert_eq!(count(list().state(TaskState::Scheduled)).await, 25);
        assert_eq!(count(list().state("scheduled").queue("a")).await, 25);
        assert_eq!(count(list().state("ended").kind("work")).await, 0);
        assert_eq!(count(list().key("k20")).await, 1);
        let late = conveyor_core::runtime::Clock::wall(&*sim.runtime()) + secs(30);
        assert_eq!(count(list().due_from(late)).await, 25);
        assert_eq!(count(list().due_before(late)).await, 225);
        assert_eq!(count(list().enqueued_from(late)).await, 0);
        assert_eq!(
            count(list().enqueued_before(late).enqueued_from(conveyor::Timestamp::UNIX_EPOCH))
                .await,
            250
        );
        let filter = Filter { queue: Some(QueueName::new("b").unwrap()), ..Filter::default() };
        assert_eq!(count(list().kind("nonsense").matching(filter)).await, 125);
        manager.start().await.unwrap();
        sim.run_until_idle().await;
        for task in manager.inspect().state("active").all().await.unwrap() {
            assert_eq!((task.epoch, task.holder.is_some(), task.end), (1, true, None));
        }
        sim.advance(secs(200)).await;
        let page = manager.inspect().state("ended").page_size(1).page().await.unwrap();
        assert_eq!(page.tasks[0].end, Some(End::Succeeded));
        assert!(page.next.is_some());
    });
}

#[test]
fn what_is_wrong_with_an_inspection_is_told_with_the_way_out() {
    simulate(7, |sim| async move {
        let manager = manager(&sim).register(consumer("work", sleeps, |_| {})).build().unwrap();
        let list = || manager.inspect();
        let why = async |list: conveyor::Inspect| list.page().await.unwrap_err().to_string();
        let no_kind = why(list().kind("wrok")).await;
        assert_eq!(
            no_kind,
            "there never was a task of the kind \"wrok\", and no worker here is for it; known are work"
        );
        // Whatever is known has no task yet; from then on it has.
        assert_eq!(list().kind("work").queue("default").all().await, Ok(vec![]));
        for number in 0..9 {
            manager.enqueue(Task::new(format!("kind-{number}"), ()).queue("other")).await.unwrap();
        }
        assert!(why(list().kind("wrok")).await.ends_with("kind-7, and 2 more"));
        assert_eq!(list().kind("kind-8").all().await.unwrap().len(), 1);
        assert_eq!(
            why(list().queue("othr")).await,
            "there never was a task of the queue \"othr\", and no consumer here serves it; known \
             are default, other"
        );
        assert_eq!(
            why(list().state("queud")).await,
            "\"queud\" is no state; a task is scheduled, queued, active, parked or ended"
        );
        for cursor in ["", "after-12", &"0".repeat(38), &format!("after-+{}", "0".repeat(31))] {
            assert_eq!(
                why(list().after(cursor)).await,
                format!(
                    "{cursor:?} is no cursor; give the text of the `next` that came with a page, or \
                     none to begin"
                )
            );
        }
        let two = list().key("").kind("").state("none");
        assert_eq!(why(two).await, "the key is empty; give it at least one character", "the first");
        assert!(list().kind("").next_page().await.is_err());
        assert!(list().kind("wrok").all().await.is_err());
    });
}
