//! What a crash costs: the culprit its budget, a bystander nothing.

use std::collections::BTreeMap;

use conveyor::{AttemptEnd, End, TaskId, TaskInfo};

use super::{AtRest, Broken, Findings, History, Rules};
use crate::torture::kinds::CRASH_BUDGET;
use crate::torture::line::{Attempt, Holding, Recorded, Rescue, What};

pub(super) fn check(history: &History, rest: &AtRest, rules: &Rules, found: &mut Findings) {
    let claims = Claims::of(history);
    for info in &rest.tasks {
        for charge in charges(history, info) {
            if let Some(what) = claims.is_unfair(history, info.id, &charge, rules) {
                found.push(Broken::new([info.id], what));
            }
        }
        check_budgets(history, info, found);
    }
    for line in history.lines() {
        if let What::Dead(how) = &line.what
            && !["exit status: 0", "SIGKILL", "SIGABRT"].iter().any(|known| how.contains(known))
        {
            let what = format!("process {} ended by itself: {how}; see stderr.log", line.by);
            found.push(Broken::new([], what));
        }
    }
}

/// A crash that a task was charged with.
struct Charge {
    epoch: u64,
    by: u64,
    /// When, as far as it is known.
    at: i64,
}

fn charges(history: &History, info: &TaskInfo) -> Vec<Charge> {
    let is_charge = |ended: &AttemptEnd| *ended == AttemptEnd::Crashed;
    let past = info.attempts.iter().filter(|past| is_charge(&past.ended));
    let mut charges: Vec<Charge> = past
        .map(|past| Charge { epoch: past.epoch, by: past.by.get(), at: past.at.as_micros() })
        .collect();
    // Of the end the store does not tell when it was; whoever made it does, unless it was killed
    // before it could.
    let end = history.of(info.id).find_map(|(_, line)| {
        matches!(line.what, What::Rescued(_, _, Rescue::Crashed)).then_some(line.at)
    });
    if let (Some(at), Some(by)) = (end, info.ended_by) {
        charges.push(Charge { epoch: info.epoch, by: by.get(), at });
    }
    charges
}

/// No task starts more often than its budgets tell, and the budgets are kept.
fn check_budgets(history: &History, info: &TaskInfo, found: &mut Findings) {
    let mut wrong = |what: String| found.push(Broken::new([info.id], what));
    let starts = history.of(info.id).filter(|(_, line)| matches!(line.what, What::Start(..)));
    let starts = starts.count() as u32;
    let budgets = info.budgets;
    let told_of = budgets.errors + budgets.crashes + budgets.interruptions + budgets.snoozes;
    // An error that is the end is told of as well.
    let last = u32::from(!matches!(info.end, Some(End::Failed(_) | End::Crashed)));
    if starts > told_of + last {
        wrong(format!("it started {starts} times, but its budgets are {budgets:?}"));
    }
    let crashed = info.end == Some(End::Crashed);
    if crashed != (budgets.crashes >= CRASH_BUDGET) {
        wrong(format!("it crashed {} times, and its end is {:?}", budgets.crashes, info.end));
    }
    let is_poison = info.kind.as_str() == "poison";
    if is_poison && !matches!(info.end, Some(End::Crashed | End::Cancelled(_)) | None) {
        wrong(format!("a poison ended as {:?}", info.end));
    }
}

/// A claim, as far as it is known.
struct Claim {
    attempt: Attempt,
    since: usize,
    /// Until when it is certain that it is held, by what was known when.
    held: Vec<(usize, i64)>,
    /// Where its holder asked to settle it, or learned that it is lost.
    over: Option<usize>,
}

/// The claims of each process.
struct Claims {
    of: BTreeMap<u32, Vec<Claim>>,
    numbers: BTreeMap<u64, u32>,
}

impl Claims {
    fn of(history: &History) -> Self {
        let mut claims: BTreeMap<(u32, Attempt), Claim> = BTreeMap::new();
        let mut numbers = BTreeMap::new();
        for (at, line) in history.lines().iter().enumerate() {
            match line.what {
                What::Is(by) => _ = numbers.insert(by, line.by),
                What::Claimed(attempt, lease) => {
                    let held = vec![(at, lease.holds_until())];
                    let claim = Claim { attempt, since: at, held, over: None };
                    claims.entry((line.by, attempt)).or_insert(claim);
                }
                What::Renewed(attempt, lease, Holding::Held) => {
                    if let Some(claim) = claims.get_mut(&(line.by, attempt)) {
                        claim.held.push((at, lease.holds_until()));
                    }
                }
                What::Renewed(attempt, _, Holding::Lost)
                | What::Settle(attempt, _)
                | What::Settled(attempt, _, Recorded::Fenced) => {
                    if let Some(claim) = claims.get_mut(&(line.by, attempt)) {
                        claim.over.get_or_insert(at);
                    }
                }
                _ => {}
            }
        }
        let mut of: BTreeMap<u32, Vec<Claim>> = BTreeMap::new();
        for ((process, _), claim) in claims {
            of.entry(process).or_default().push(claim);
        }
        Claims { of, numbers }
    }

    /// Why the charge is unfair, if it is so for certain.
    fn is_unfair(
        &self,
        history: &History,
        task: TaskId,
        charge: &Charge,
        rules: &Rules,
    ) -> Option<String> {
        // A process that was killed before it could say who it is.
        let &process = self.numbers.get(&charge.by)?;
        let until = history.lines().partition_point(|line| line.at <= charge.at);
        let lines = history.of_process(process).take_while(|&(at, _)| at < until);
        let last = lines.filter(|(_, line)| is_blow(&line.what)).last();
        let epoch = charge.epoch;
        let Some((_, blow)) = last else {
            // Who cannot reach the store looks dead to it.
            if rules.may_fail {
                return None;
            }
            return Some(format!("charged with a crash in claim {epoch}, but {process} was well"));
        };
        let company = self.of.get(&process)?.iter().find(|claim| {
            let known = claim.held.iter().filter(|&&(at, _)| at < until);
            claim.attempt.task != task
                && claim.since < until
                && claim.over.is_none_or(|over| over >= until)
                && known.map(|&(_, held)| held).max() >= Some(blow.at)
        })?;
        Some(format!(
            "charged with a crash in claim {epoch}, though {process} held {} too",
            company.attempt
        ))
    }
}

/// Whether a process that this happens to may fall silent.
fn is_blow(what: &What) -> bool {
    matches!(what, What::Dead(_) | What::Kill | What::Stop)
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, LEASE};
    use super::*;

    fn charge(info: &mut TaskInfo, by: u64, at: i64) {
        info.attempts.push(conveyor::PastAttempt {
            epoch: 1,
            by: conveyor::Incarnation::new(by),
            at: conveyor::Timestamp::from_micros(at),
            ended: AttemptEnd::Crashed,
        });
        info.budgets.crashes += 1;
    }

    #[test]
    fn a_bystander_that_is_charged_is_found() {
        for company in [false, true] {
            let mut example = Example::default();
            let task = example.enqueue("plain", None);
            example.by(1).note(What::Is(77));
            example.claim(task, 1);
            if company {
                let other = example.enqueue("plain", None);
                example.by(1).claim(other, 1);
            }
            example.by(1).note(What::Dead("signal: 9 (SIGKILL)".into()));
            let now = example.wait(LEASE).now();
            charge(example.info(task), 77, now);
            let found = example.findings().iter().any(|found| found.contains("though 1 held"));
            assert_eq!(found, company);
        }
    }

    #[test]
    fn a_charge_for_a_process_that_lives_is_found() {
        let mut example = Example::default();
        let task = example.enqueue("plain", None);
        example.by(1).note(What::Is(77));
        example.claim(task, 1);
        let now = example.wait(LEASE).now();
        charge(example.info(task), 77, now);
        assert!(example.findings().iter().any(|found| found.contains("but 1 was well")));
    }

    #[test]
    fn a_task_that_starts_more_often_than_it_may_is_found() {
        let mut example = Example::default();
        let task = example.run_a_task();
        example.wait(LEASE).claim(task, 2);
        example.start(task, 2, "plain");
        assert!(example.findings().iter().any(|found| found.contains("it started 2 times")));
    }

    #[test]
    fn a_poison_that_lives_and_one_that_dies_early_are_found() {
        let mut example = Example::default();
        let task = example.run_a_task();
        example.info(task).kind = conveyor::Kind::from_static("poison");
        assert!(example.findings().iter().any(|found| found.contains("a poison ended as")));
        let info = example.info(task);
        (info.end, info.budgets.crashes) = (Some(End::Crashed), CRASH_BUDGET - 1);
        assert!(example.findings().iter().any(|found| found.contains("it crashed 2 times")));
    }

    #[test]
    fn a_process_that_ends_by_itself_is_found() {
        let mut example = Example::default();
        example.by(3).note(What::Dead("exit status: 101".into()));
        assert!(example.findings()[0].contains("process 3 ended by itself"));
    }
}
