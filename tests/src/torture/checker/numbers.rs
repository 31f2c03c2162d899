//! What the store counts is what happened.

use conveyor::{Counts, End};

use super::{AtRest, Broken, Findings, History, Rules};
use crate::torture::line::{Answer, Ending, Recorded, Rescue, What};
use crate::torture::load::CALLER;

pub(super) fn check(history: &History, rest: &AtRest, rules: &Rules, found: &mut Findings) {
    let counts = &rest.counts;
    let mut is = |what: &str, is: u64, must_be: usize| {
        if is != must_be as u64 {
            found.push(Broken::new([], format!("{what}: {is} counted, but there are {must_be}")));
        }
    };
    let ended = |which: fn(&End) -> bool| {
        rest.tasks.iter().filter(|info| info.end.as_ref().is_some_and(which)).count()
    };
    is("accepted", counts.enqueued, rest.tasks.len());
    is("processed", counts.processed, ended(|end| *end == End::Succeeded));
    is("failed", counts.failed, ended(|end| matches!(end, End::Failed(_))));
    is("cancelled", counts.cancelled, ended(|end| matches!(end, End::Cancelled(_))));
    is("crashed", counts.crashed, ended(|end| *end == End::Crashed));
    is("live", counts.live(), rest.tasks.iter().filter(|info| info.end.is_none()).count());
    for (what, is, known) in rising(history, counts) {
        if !known.contains(is) {
            let Range { least, most } = known;
            let what = format!("{what}: {is} counted, but it happened {least} to {most} times");
            found.push(Broken::new([], what));
        }
    }
    if !rules.may_fail {
        let error = history.lines().iter().find_map(|line| match &line.what {
            // That nobody answers in time may be told to a caller, when a process that holds the
            // file is stopped.
            What::Error(call, error) if call != CALLER => {
                Some(format!("{call} failed in {}: {error}", line.by))
            }
            _ => None,
        });
        found.extend(error.map(|what| Broken::new([], what)));
    }
}

/// How often something happened for certain, and how often it may have.
#[derive(Clone, Copy, Default)]
struct Range {
    least: u64,
    most: u64,
}

impl Range {
    fn contains(self, number: u64) -> bool {
        (self.least..=self.most).contains(&number)
    }
}

/// What only ever rises, and what of it is in the history: of what was asked, the answer may be
/// unknown.
fn rising(history: &History, counts: &Counts) -> [(&'static str, u64, Range); 3] {
    let (mut retried, mut snoozed, mut duplicates) =
        (Range::default(), Range::default(), Range::default());
    for line in history.lines() {
        match &line.what {
            What::Settle(_, Ending::Retry) => retried.most += 1,
            What::Settle(_, Ending::Snooze) => snoozed.most += 1,
            // A request to cancel turns it into an end.
            What::Settled(attempt, Ending::Retry, Recorded::Applied) => {
                retried.least += u64::from(!was_cancelled(history, attempt.task));
            }
            What::Settled(attempt, Ending::Snooze, Recorded::Applied) => {
                snoozed.least += u64::from(!was_cancelled(history, attempt.task));
            }
            What::Settled(_, Ending::Retry, _) => retried.most -= 1,
            What::Settled(_, Ending::Snooze, _) => snoozed.most -= 1,
            What::Enqueue(asked) if asked.key.is_some() => duplicates.most += 1,
            What::Enqueued(_, Answer::Duplicate) => duplicates.least += 1,
            _ => {}
        }
    }
    [
        ("retried", counts.retried, retried),
        ("snoozed", counts.snoozed, snoozed),
        ("duplicates", counts.duplicates, duplicates),
    ]
}

fn was_cancelled(history: &History, task: conveyor::TaskId) -> bool {
    history.of(task).any(|(_, line)| {
        matches!(line.what, What::Cancel(_) | What::Rescued(_, _, Rescue::Cancelled))
    })
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::*;

    #[test]
    fn a_count_that_is_another_than_there_are_is_found() {
        let mut example = Example::default();
        example.run_a_task();
        example.rest.counts.processed += 1;
        assert!(example.findings()[0].contains("processed: 2 counted, but there are 1"));
    }

    #[test]
    fn a_retry_that_is_not_counted_or_was_refused_and_is_counted_is_found() {
        for (recorded, counted) in [(Recorded::Applied, 0), (Recorded::Fenced, 1)] {
            let mut example = Example::default();
            let task = example.enqueue("plain", None);
            example.by(1).claim(task, 1);
            example.settle(task, 1, Ending::Retry);
            let last = example.lines.last_mut().unwrap();
            last.what = What::Settled(last.settled_attempt(), Ending::Retry, recorded);
            example.rest.counts.retried = counted;
            assert!(example.findings().iter().any(|found| found.contains("retried: ")));
        }
    }

    #[test]
    fn an_error_of_a_store_that_may_have_none_is_found() {
        let mut example = Example::default();
        example.note(What::Error("claim".into(), "database is locked".into()));
        assert!(example.findings()[0].contains("database is locked"));
    }
}
