//! What clocks do: change to summer time and back, jump, and are put right.

use conveyor_testkit::Simulation;

use super::*;

/// Runs a cron schedule for that many hours; the instants that it fired at.
fn run_cron(from: i64, hours: u64, expression: &'static str, zone: &'static str) -> Vec<String> {
    Simulation::new(7).wall(Timestamp::from_secs(from)).run(|sim| async move {
        let log = Log::new();
        let schedule = Schedule::cron_in(expression, zone).unwrap();
        let manager =
            manager(&sim).register(ticker(&sim, &log, schedule, at_once)).build().unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(hours * 3_600)).await;
        sim.run_until_idle().await;
        texts(&log)
    })
}

/// 2026-03-28T00:00:00Z: the clocks of Berlin leave out 2:00 to 3:00 on the 29th, at 1:00 UTC.
const BEFORE_SPRING: i64 = 1_774_656_000;

/// 2026-10-24T00:00:00Z: they show 2:00 to 3:00 twice on the 25th, until 1:00 UTC.
const BEFORE_AUTUMN: i64 = 1_792_800_000;

#[test]
fn a_time_of_the_day_fires_once_on_every_day_of_a_clock_change() {
    let half_past_two = |from| run_cron(from, 72, "30 2 * * *", "Europe/Berlin");
    assert_eq!(
        half_past_two(BEFORE_SPRING),
        // On the 29th at the first instant after the gap: 3:00 in Berlin.
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        half_past_two(BEFORE_AUTUMN),
        // On the 25th the first of two.
        ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // UTC knows no change.
    assert_eq!(
        run_cron(BEFORE_SPRING, 72, "30 2 * * *", "UTC"),
        ["2026-03-28T02:30:00Z", "2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"]
    );
}

#[test]
fn a_rhythm_goes_on_through_a_clock_change() {
    for from in [BEFORE_SPRING, BEFORE_AUTUMN] {
        let fired = run_cron(from, 48, "*/30 * * * *", "Europe/Berlin");
        let start = Timestamp::from_secs(from);
        let expected: Vec<_> = (0..=96).map(|n| (start + secs(1_800 * n)).to_string()).collect();
        assert_eq!(fired, expected);
    }
}

#[test]
fn cron_notices_a_clock_that_jumped_ahead_within_a_minute() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let schedule = Schedule::cron("0 */6 * * *").unwrap();
            let manager =
                manager(&sim).register(ticker(&sim, &log, schedule, at_once)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(3_600)).await;
            assert_eq!(texts(&log), ["2026-01-01T00:00:00Z"]);
            // From 01:00 to 06:30.
            sim.jump_wall_ahead(secs(11 * 1_800));
            sim.advance(secs(60)).await;
            sim.run_until_idle().await;
            assert_eq!(log.len(), 2);
            let late = log.all()[1].saturating_since(Timestamp::from_secs(1_767_225_600));
            assert!((secs(23_400)..=secs(23_460)).contains(&late), "{late:?}");
            sim.advance(secs(6 * 3_600)).await;
            assert_eq!(texts(&log)[2..], ["2026-01-01T12:00:00Z"]);
        });
    });
}

#[test]
fn no_instant_fires_twice_when_the_clock_jumps_back() {
    for cron in [true, false] {
        simulate(7, |sim| async move {
            let log = Log::new();
            let schedule = if cron { Schedule::cron("0 * * * *").unwrap() } else { every(3_600) };
            let manager =
                manager(&sim).register(ticker(&sim, &log, schedule, at_once)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(3_600 + 1_800)).await;
            sim.jump_wall_back(secs(3_600));
            sim.advance(secs(3 * 3_600)).await;
            sim.run_until_idle().await;
            let expected = [0, 1, 2, 3].map(|hour| format!("2026-01-01T0{hour}:00:00Z"));
            assert_eq!(texts(&log), expected, "cron: {cron}");
        });
    }
}

/// A clock that was set back by mistake and put right again: the schedule goes on within a minute.
#[test]
fn an_interval_notices_that_the_clock_was_put_right() {
    for schedule in [every(10), Schedule::cron("*/10 * * * * *").unwrap()] {
        simulate(7, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let manager =
                manager(&sim).register(ticker(&sim, &log, schedule, at_once)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(15)).await;
            sim.jump_wall_back(secs(86_400));
            sim.advance(secs(30)).await;
            sim.jump_wall_ahead(secs(86_400));
            assert_eq!(since(start, &log), [0, 10]);
            sim.advance(secs(120) - sim.elapsed()).await;
            let noticed = since(start, &log);
            assert!(noticed.len() > 3 && noticed[2] <= 45 + 60, "{noticed:?}");
            sim.advance(secs(5)).await;
            sim.run_until_idle().await;
            assert_eq!(*since(start, &log).last().unwrap(), 120);
        });
    }
}
