//! Schedules: a tick fires once, none is early, and what it makes appears once.

use conveyor::prelude::*;
use conveyor::{Error, ManagerBuilder, Timestamp};
use conveyor_tests::{Log, Setting};

use crate::{NEVER, millis};

conveyor_tests::on_every_runtime!(
    the_ticks_of_an_interval_come_one_by_one_and_none_is_early,
    a_tick_makes_its_tasks_once_also_if_it_is_retried,
    a_schedule_can_be_changed_while_it_runs,
    a_producer_stops_with_its_worker,
);

type Ticks = Log<Timestamp>;

#[conveyor::worker(interval = "10ms")]
async fn beats(ctx: Context, log: State<Ticks>) {
    log.push(ctx.runtime().wall());
}

async fn the_ticks_of_an_interval_come_one_by_one_and_none_is_early(setting: Setting) {
    let log = Ticks::new();
    let manager = setting.manager().state(log.clone()).register(beats).build().unwrap();
    let begun = setting.wall();
    manager.start().await.unwrap();
    let log = log.reaches(6).await;
    // The first one is at the start; what was missed is made up for once, and not more often.
    for (number, &at) in log.iter().enumerate() {
        let instant = begun + millis(10) * number as u32;
        assert!(at >= instant, "tick {number} was before {instant:?}: {log:?}");
    }
}

/// Makes two tasks at each tick; the first attempt of each tick fails.
struct Feeds;

/// The attempts of `produce`, and the numbers of its tasks.
type Fed = Log<(u32, u32)>;

#[conveyor::worker(interval = "5ms", retries = 1, backoff = "none")]
impl Feeds {
    async fn produce(&self, ctx: Context) -> Result<Vec<u32>, Error> {
        let log = ctx.state::<Fed>();
        log.push((ctx.attempt(), 0));
        if ctx.attempt() == 1 { Err("not yet".into()) } else { Ok(vec![1, 2]) }
    }

    async fn consume(&self, number: u32, log: State<Fed>) {
        log.push((0, number));
    }
}

async fn a_tick_makes_its_tasks_once_also_if_it_is_retried(setting: Setting) {
    let log = Fed::new();
    let manager = setting.manager().state(log.clone()).register(Feeds).build().unwrap();
    manager.start().await.unwrap();
    log.reaches(16).await;
    manager.set_schedule("Feeds", Schedule::every(NEVER).unwrap()).await.unwrap();
    manager.idle().await.unwrap();
    let log = log.all();
    let count = |what| log.iter().filter(|&&one| one == what).count();
    let ticks = count((1, 0));
    assert!(ticks >= 4, "{log:?}");
    assert_eq!([(2, 0), (0, 1), (0, 2)].map(count), [ticks; 3], "{log:?}");
    let metrics = manager.metrics();
    assert_eq!(metrics.kind("Feeds").processed, 2 * ticks as u64);
    assert_eq!((metrics.retried, metrics.failed), (ticks as u64, 0));
}

/// Shows that time passes, by ticks of its own.
#[conveyor::worker(interval = "5ms")]
async fn others(log: State<Log<()>>) {
    log.push(());
}

/// With one consumer and one producer for both, what is due of one is done when a few ticks of the
/// other are.
fn beside_others(setting: &Setting, log: &Ticks, of_others: &Log<()>) -> ManagerBuilder {
    setting.manager().consumers(1).state(log.clone()).state(of_others.clone()).register(others)
}

#[conveyor::worker(interval = "1h")]
async fn rarely(ctx: Context, log: State<Ticks>) {
    log.push(ctx.runtime().wall());
}

async fn a_schedule_can_be_changed_while_it_runs(setting: Setting) {
    let (log, of_others) = (Ticks::new(), Log::new());
    let manager = beside_others(&setting, &log, &of_others).register(rarely).build().unwrap();
    manager.start().await.unwrap();
    log.reaches(1).await;
    let before = setting.wall();
    manager.set_schedule("rarely", Schedule::every(millis(5)).unwrap()).await.unwrap();
    assert!(log.reaches(5).await[1] >= before);
    manager.set_schedule("rarely", Schedule::every(NEVER).unwrap()).await.unwrap();
    // The first tick of the new schedule is at once.
    of_others.reaches(of_others.len() + 4).await;
    let ticked = log.len();
    of_others.reaches(of_others.len() + 8).await;
    assert_eq!(log.len(), ticked);
}

async fn a_producer_stops_with_its_worker(setting: Setting) {
    let (log, of_others) = (Ticks::new(), Log::new());
    let manager = beside_others(&setting, &log, &of_others).register(beats).build().unwrap();
    manager.start().await.unwrap();
    log.reaches(3).await;
    assert!(manager.unregister("beats"));
    of_others.reaches(of_others.len() + 4).await;
    let (before, enqueued) = (log.len(), manager.metrics().kind("beats").enqueued);
    of_others.reaches(of_others.len() + 8).await;
    assert_eq!((log.len(), manager.metrics().kind("beats").enqueued), (before, enqueued));
    let unknown = manager.set_schedule("beats", Schedule::every(NEVER).unwrap()).await;
    assert!(unknown.unwrap_err().to_string().contains("beats"));
    manager.register(beats).unwrap();
    log.reaches(before + 2).await;
}
