//! Shutdowns at any moment: each task is done as often as it should be.

use std::collections::BTreeMap;

use super::*;

/// How a task takes a shutdown: every third one obeys, is deaf, or succeeds a little later.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Stint {
    number: u32,
    millis: u64,
    /// How many attempts fail before one succeeds; the task has just so many retries.
    fails: u32,
}

/// Notes each attempt that came to an end of its own: the task's number, and the attempt's.
fn stints(log: &Log<(u32, u32)>) -> impl Worker {
    let log = log.clone();
    consumer(
        "stint",
        move |stint: Stint, ctx: Context| {
            let log = log.clone();
            async move {
                let mut work = Box::pin(ctx.sleep(Duration::from_millis(stint.millis)));
                let mut stop = Box::pin(ctx.cancelled());
                match futures::future::select(&mut work, &mut stop).await {
                    futures::future::Either::Left(_) => {}
                    futures::future::Either::Right(_) if stint.number.is_multiple_of(3) => {
                        return Err("stopped");
                    }
                    futures::future::Either::Right(_) if stint.number % 3 == 1 => work.await,
                    futures::future::Either::Right(_) => {
                        ctx.sleep(Duration::from_millis(20)).await;
                        log.push((stint.number, u32::MAX));
                        return Ok(());
                    }
                }
                let told = ctx.is_cancelled();
                if ctx.attempt() <= stint.fails {
                    if !told {
                        log.push((stint.number, ctx.attempt()));
                    }
                    Err("as told")
                } else {
                    log.push((stint.number, u32::MAX));
                    Ok(())
                }
            }
        },
        |kind| {
            kind.backoff(Backoff::fixed(Duration::from_millis(300)));
        },
    )
}

#[test]
fn shutdowns_at_any_moment_neither_lose_nor_charge_nor_repeat_a_task() {
    const TASKS: u32 = 60;
    let mut interrupted = 0;
    for_seeds(0..100, |seed| {
        interrupted += simulate(seed, |sim| async move {
            let log = Log::new();
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let mut enqueued = 0;
            let mut interrupted = 0;
            for _ in 0..12 {
                let heir = Manager::builder()
                    .runtime(sim.runtime())
                    .store(store.clone())
                    .register(stints(&log))
                    .consumers(1 + (sim.random() % 6) as usize)
                    .build()
                    .unwrap();
                let next = (enqueued + 5).min(TASKS);
                for number in enqueued..next {
                    let fails = (sim.random() % 3) as u32;
                    let stint = Stint { number, millis: sim.random() % 900, fails };
                    let task = Task::new("stint", stint).retries(fails);
                    let late = Duration::from_millis((sim.random() % 4) * 200);
                    heir.enqueue(task.delay(late)).await.unwrap();
                }
                enqueued = next;
                heir.start().await.unwrap();
                sim.advance(Duration::from_millis(sim.random() % 1_500)).await;
                let (before, at) = (heir.metrics(), sim.elapsed());
                let grace = Duration::from_millis([0, 50, 400][(sim.random() % 3) as usize]);
                let report = heir.shutdown(grace).await.unwrap();
                let took = sim.elapsed() - at;
                assert!(took <= grace + Duration::from_millis(250), "{grace:?} took {took:?}");
                assert_eq!(report.finished + report.returned, before.active, "{report:?}");
                let after = heir.metrics();
                assert_eq!((after.active, report.abandoned), (0, 0));
                assert_eq!(after.returned - before.returned, report.returned);
                interrupted += report.returned;
            }
            let last = Manager::builder()
                .runtime(sim.runtime())
                .store(store)
                .register(stints(&log))
                .build()
                .unwrap();
            last.start().await.unwrap();
            last.idle().await.unwrap();
            let metrics = last.metrics();
            let ends = (metrics.processed, metrics.failed, metrics.live());
            assert_eq!(ends, (u64::from(TASKS), 0, 0), "an interruption cost an attempt");
            let mut attempts: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for (number, attempt) in log.all() {
                attempts.entry(number).or_default().push(attempt);
            }
            for (number, attempts) in attempts {
                let (end, failures) = attempts.split_last().unwrap();
                let counted: Vec<u32> = (1..).take(failures.len()).collect();
                assert_eq!((*end, failures), (u32::MAX, &*counted), "task {number}");
            }
            interrupted
        });
    });
    assert!(interrupted > 0, "nothing was interrupted: the test shows nothing");
}
