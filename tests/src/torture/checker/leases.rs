//! A task is held by one process at a time, for as long as its lease holds; and each claim of it has
//! a number that is higher than all before.

use std::collections::BTreeMap;

use super::{Broken, Findings, History};
use crate::torture::line::{Attempt, Holding, Recorded, What};

pub(super) fn check(history: &History, found: &mut Findings) {
    for (_, lines) in history.tasks() {
        let mut story = Story::default();
        for (at, line) in lines {
            story.go_on(history, at, line.at, line.by, &line.what, found);
        }
    }
}

/// A claim, as far as it is known.
#[derive(Clone, Copy)]
struct Held {
    attempt: Attempt,
    by: u32,
    since: usize,
    /// Until when it is certain that it is held.
    until: i64,
    /// How often its holder has asked to settle it, and was not refused.
    settles: u32,
}

/// A handler that has not ended.
struct Runs {
    by: u32,
    since: usize,
    told: bool,
}

/// One task.
#[derive(Default)]
struct Story {
    claims: BTreeMap<u64, Held>,
    running: BTreeMap<u64, Runs>,
    started: BTreeMap<u64, usize>,
}

impl Story {
    fn go_on(
        &mut self,
        history: &History,
        at: usize,
        time: i64,
        by: u32,
        what: &What,
        found: &mut Findings,
    ) {
        match what {
            What::Claimed(attempt, lease) => {
                let until = lease.holds_until();
                self.claim(
                    Held { attempt: *attempt, by, since: at, until, settles: 0 },
                    time,
                    found,
                );
            }
            What::Renewed(attempt, lease, Holding::Held) => {
                if let Some(held) = self.claims.get_mut(&attempt.epoch) {
                    held.until = held.until.max(lease.holds_until());
                }
            }
            What::Settle(attempt, ending) if ending.releases() => {
                if let Some(held) = self.claims.get_mut(&attempt.epoch) {
                    held.settles += 1;
                }
            }
            What::Settled(attempt, _, Recorded::Fenced) => {
                if let Some(held) = self.claims.get_mut(&attempt.epoch) {
                    held.settles = held.settles.saturating_sub(1);
                }
            }
            What::Start(attempt, _) => self.start(history, *attempt, by, at, found),
            What::Told(attempt, _) => {
                if let Some(runs) = self.running.get_mut(&attempt.epoch) {
                    runs.told = true;
                }
            }
            What::End(attempt, _) => drop(self.running.remove(&attempt.epoch)),
            _ => {}
        }
    }

    fn claim(&mut self, new: Held, time: i64, found: &mut Findings) {
        let Attempt { task, epoch } = new.attempt;
        let mut wrong = |what: String| found.push(Broken::new([task], what));
        if let Some(same) = self.claims.get(&epoch) {
            // A request whose reply was lost is answered the same again.
            if same.by != new.by {
                wrong(format!("claim {epoch} was given to {} and to {}", same.by, new.by));
            }
            return;
        }
        if let Some((_, before)) = self.claims.range(..epoch).next_back()
            && before.settles == 0
            && time < before.until
        {
            let left = before.until - time;
            wrong(format!(
                "claim {epoch} was given to {} though {} held claim {} for another {left} µs",
                new.by, before.by, before.attempt.epoch
            ));
        }
        self.claims.insert(epoch, new);
    }

    fn start(
        &mut self,
        history: &History,
        attempt: Attempt,
        by: u32,
        at: usize,
        found: &mut Findings,
    ) {
        let Attempt { task, epoch } = attempt;
        let mut wrong = |what: String| found.push(Broken::new([task], what));
        if self.started.insert(epoch, at).is_some() {
            wrong(format!("claim {epoch} started twice"));
        }
        let claimed = self.claims.get(&epoch).filter(|held| held.by == by);
        let Some(claimed) = claimed else {
            wrong(format!("claim {epoch} started in {by}, which was not given it"));
            return;
        };
        // Who was stopped before it began may come too late.
        let late = history.was_disturbed(by, claimed.since, at);
        if let Some((&higher, _)) = self.started.range(epoch + 1..).next()
            && !late
        {
            wrong(format!("claim {epoch} started after claim {higher}"));
        }
        for (other, runs) in &self.running {
            if !late && !runs.told && !history.was_disturbed(runs.by, runs.since, at) {
                wrong(format!(
                    "claim {epoch} started in {by} while claim {other} ran in {}, which was well, \
                     and was not told",
                    runs.by
                ));
            }
        }
        self.running.insert(epoch, Runs { by, since: at, told: false });
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, LEASE};
    use super::*;
    use crate::torture::line::How;

    #[test]
    fn a_task_that_is_given_out_while_it_is_held_is_found() {
        let mut example = Example::default();
        let task = example.enqueue("plain", None);
        example.by(1).claim(task, 1);
        example.start(task, 1, "plain");
        example.wait(LEASE - 1).by(2).claim(task, 2);
        assert!(example.findings()[0].contains("for another 1 µs"));
        // With the lease over it is in order.
        let last = example.lines.pop();
        example.wait(1).by(2).claim(task, 2);
        let found = example.findings();
        assert!(last.is_some() && !found.iter().any(|what| what.contains("for another")));
    }

    #[test]
    fn a_lease_that_was_renewed_holds_for_longer() {
        let mut example = Example::default();
        let task = example.enqueue("plain", None);
        example.by(1).claim(task, 1);
        example.wait(LEASE / 2).renew(task, 1);
        example.wait(LEASE / 2 + 1).by(2).claim(task, 2);
        assert!(example.findings()[0].contains("for another"));
    }

    #[test]
    fn one_claim_for_two_processes_or_two_starts_is_found() {
        let mut example = Example::default();
        let task = example.enqueue("plain", None);
        example.by(1).claim(task, 1);
        example.start(task, 1, "plain");
        example.start(task, 1, "plain");
        example.wait(LEASE).by(2).claim(task, 1);
        example.start(task, 1, "plain");
        let findings = example.findings().join("\n");
        assert!(findings.contains("claim 1 was given to 1 and to 2"), "{findings}");
        assert!(findings.contains("claim 1 started twice"), "{findings}");
        assert!(findings.contains("started in 2, which was not given it"), "{findings}");
    }

    #[test]
    fn an_older_claim_that_starts_after_a_newer_one_is_found() {
        let mut example = Example::default();
        let task = example.enqueue("plain", None);
        example.by(1).claim(task, 1);
        example.wait(LEASE).by(2).claim(task, 2);
        example.start(task, 2, "plain");
        example.end(task, 2, How::Succeeded);
        example.by(1).start(task, 1, "plain");
        assert!(example.findings().iter().any(|found| found.contains("started after claim 2")));
    }

    #[test]
    fn handlers_that_run_at_once_are_found_unless_one_was_stopped_or_told() {
        for excuse in [None, Some(What::Stop), Some(What::Kill)] {
            let mut example = Example::default();
            let task = example.enqueue("plain", None);
            example.by(1).claim(task, 1);
            example.start(task, 1, "plain");
            let is_excused = excuse.is_some();
            excuse.into_iter().for_each(|what| example.note(what));
            example.wait(LEASE).by(2).claim(task, 2);
            example.start(task, 2, "plain");
            let found = example.findings().iter().any(|found| found.contains("while claim 1 ran"));
            assert_eq!(found, !is_excused);
        }
    }
}
