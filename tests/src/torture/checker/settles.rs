//! A settle takes effect once, and only for the claim that holds the task; and a task has one end.

use std::collections::BTreeMap;

use conveyor::{End, TaskId, TaskInfo};

use super::{AtRest, Broken, Findings, History};
use crate::torture::line::{Attempt, Ending, Recorded, Rescue, What};

pub(super) fn check(history: &History, rest: &AtRest, found: &mut Findings) {
    let known: BTreeMap<TaskId, &TaskInfo> =
        rest.tasks.iter().map(|info| (info.id, info)).collect();
    for (task, lines) in history.tasks() {
        let mut story = Story { task, info: known.get(&task).copied(), ..Story::default() };
        for (_, line) in lines {
            story.go_on(&line.what, found);
        }
    }
}

struct Story<'a> {
    task: TaskId,
    info: Option<&'a TaskInfo>,
    /// The highest claim that was given out.
    epoch: u64,
    /// How high it was when a settle of each attempt was asked for.
    asked_at: BTreeMap<Attempt, u64>,
    applied: BTreeMap<Attempt, Ending>,
    ended: Option<String>,
}

impl Default for Story<'_> {
    fn default() -> Self {
        let (task, asked_at, applied) = (TaskId::from_u128(0), BTreeMap::new(), BTreeMap::new());
        Story { task, info: None, epoch: 0, asked_at, applied, ended: None }
    }
}

impl Story<'_> {
    fn go_on(&mut self, what: &What, found: &mut Findings) {
        match *what {
            What::Claimed(attempt, _) => {
                self.epoch = self.epoch.max(attempt.epoch);
                self.check_order(attempt, found);
            }
            What::Settle(attempt, _) => {
                self.asked_at.insert(attempt, self.epoch);
            }
            What::Settled(attempt, ending, Recorded::Applied) => {
                self.settle(attempt, ending, found);
            }
            What::Rescued(_, _, rescue @ (Rescue::Crashed | Rescue::Cancelled)) => {
                self.end(&format!("{rescue:?}"), found);
                let fits = match self.info.and_then(|info| info.end.as_ref()) {
                    Some(End::Crashed) => rescue == Rescue::Crashed,
                    Some(End::Cancelled(_)) => rescue == Rescue::Cancelled,
                    _ => false,
                };
                self.fits(fits, &format!("{rescue:?}"), found);
            }
            _ => {}
        }
    }

    /// A claim that was given out late may have been settled by nobody else.
    fn check_order(&self, attempt: Attempt, found: &mut Findings) {
        if let Some(how) = &self.ended
            && self.applied.keys().all(|settled| settled.epoch < attempt.epoch)
        {
            let what = format!("claim {} was given after the end, {how}", attempt.epoch);
            found.push(Broken::new([self.task], what));
        }
    }

    fn settle(&mut self, attempt: Attempt, ending: Ending, found: &mut Findings) {
        let task = self.task;
        let mut wrong = |what: String| found.push(Broken::new([task], what));
        let epoch = attempt.epoch;
        if self.asked_at.get(&attempt).is_some_and(|&highest| highest > epoch) {
            wrong(format!("claim {epoch} was settled, {ending:?}, when a higher one was out"));
        }
        if let Some(before) = self.applied.insert(attempt, ending)
            && before != Ending::Interrupt
        {
            wrong(format!("claim {epoch} was settled twice, {before:?} and {ending:?}"));
        }
        if !ending.is_end() {
            return;
        }
        self.end(&format!("{ending:?}"), found);
        let fits = match self.info.and_then(|info| info.end.as_ref()) {
            Some(End::Succeeded) => ending == Ending::Succeed,
            Some(End::Failed(_)) => ending == Ending::Fail,
            Some(End::Cancelled(_)) => ending == Ending::Cancel,
            _ => false,
        };
        self.fits(fits, &format!("{ending:?}"), found);
    }

    fn end(&mut self, how: &str, found: &mut Findings) {
        if let Some(before) = self.ended.replace(how.to_owned()) {
            found.push(Broken::new([self.task], format!("it ended twice, {before} and {how}")));
        }
    }

    fn fits(&self, fits: bool, how: &str, found: &mut Findings) {
        if let Some(info) = self.info
            && !fits
        {
            let what = format!("it was settled, {how}, but its end is {:?}", info.end);
            found.push(Broken::new([self.task], what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, LEASE};
    use super::*;

    #[test]
    fn a_settle_of_an_old_claim_that_takes_effect_is_found() {
        let mut example = Example::default();
        let task = example.enqueue("plain", None);
        example.by(1).claim(task, 1);
        example.wait(LEASE).by(2).claim(task, 2);
        example.by(1).settle(task, 1, Ending::Retry);
        assert!(example.findings()[0].contains("when a higher one was out"));
    }

    #[test]
    fn two_settles_or_two_ends_are_found() {
        let mut example = Example::default();
        let task = example.run_a_task();
        example.settle(task, 1, Ending::Succeed);
        let findings = example.findings().join("\n");
        assert!(findings.contains("claim 1 was settled twice"), "{findings}");
        assert!(findings.contains("it ended twice"), "{findings}");
    }

    #[test]
    fn a_claim_after_the_end_is_found() {
        let mut example = Example::default();
        let task = example.run_a_task();
        example.claim(task, 2);
        assert!(example.findings()[0].contains("claim 2 was given after the end"));
    }

    #[test]
    fn an_end_that_is_another_than_was_settled_is_found() {
        let mut example = Example::default();
        let task = example.run_a_task();
        example.info(task).end = Some(End::Crashed);
        assert!(example.findings().iter().any(|found| found.contains("but its end is")));
    }
}
