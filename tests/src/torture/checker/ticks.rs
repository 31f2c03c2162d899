//! Each instant of a schedule brings one task at most, and the marks only rise.

use std::collections::{BTreeMap, BTreeSet};

use conveyor::TaskId;

use super::{AtRest, Broken, Findings, History};
use crate::torture::line::{TickReply, Ticking, What};

pub(super) fn check(history: &History, rest: &AtRest, found: &mut Findings) {
    let there: BTreeSet<TaskId> = rest.tasks.iter().map(|info| info.id).collect();
    let mut tasks: BTreeMap<(&str, i64), TaskId> = BTreeMap::new();
    let mut moves: BTreeMap<&str, Vec<&Ticking>> = BTreeMap::new();
    let (mut is_calm, mut ticked_on) = (false, BTreeSet::new());
    for line in history.lines() {
        match &line.what {
            // Whatever was answered: if its task is there, it took effect.
            What::Tick(ticking) if there.contains(&ticking.task) => {
                let instant = (ticking.name.as_str(), ticking.to);
                if let Some(other) = tasks.insert(instant, ticking.task)
                    && other != ticking.task
                {
                    let what = format!("{} ticked twice for {}", ticking.name, ticking.to);
                    found.push(Broken::new([other, ticking.task], what));
                }
                moves.entry(&ticking.name).or_default().push(ticking);
            }
            What::Ticked(ticking, TickReply::Fired) if is_calm => {
                ticked_on.insert(ticking.name.as_str());
            }
            What::Calm => is_calm = true,
            _ => {}
        }
    }
    for (name, mut moves) in moves {
        moves.sort_by_key(|ticking| ticking.to);
        moves.dedup();
        for pair in moves.windows(2) {
            if pair[1].from < pair[0].to {
                let what = format!(
                    "{name} moved from {} to {}, and from {} to {}",
                    pair[0].from, pair[0].to, pair[1].from, pair[1].to
                );
                found.push(Broken::new([pair[0].task, pair[1].task], what));
            }
        }
        if is_calm && !ticked_on.contains(name) {
            found.push(Broken::new([], format!("{name} ticks no more after the last fault")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::*;

    #[test]
    fn an_instant_that_brings_two_tasks_is_found() {
        let mut example = Example::default();
        example.tick(0, 10);
        example.tick(0, 10);
        assert!(example.findings().iter().any(|found| found.contains("ticked twice for 10")));
    }

    #[test]
    fn marks_that_pass_each_other_are_found() {
        let mut example = Example::default();
        example.tick(0, 10);
        example.tick(5, 20);
        assert!(example.findings().iter().any(|found| found.contains("and from 5 to 20")));
    }

    #[test]
    fn a_schedule_that_stands_still_is_found() {
        let mut example = Example::default();
        example.tick(0, 10);
        example.note(What::Calm);
        assert!(example.findings().iter().any(|found| found.contains("ticks no more")));
        example.tick(10, 20);
        assert!(!example.findings().iter().any(|found| found.contains("ticks no more")));
    }
}
