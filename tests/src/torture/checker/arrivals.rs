//! What was accepted has ended, and nothing else was ever there.

use std::collections::{BTreeMap, BTreeSet};

use conveyor::{TaskId, TaskInfo};

use super::{AtRest, Broken, Findings, History};
use crate::torture::line::{Answer, TickReply, What};

pub(super) fn check(history: &History, rest: &AtRest, found: &mut Findings) {
    let known: BTreeMap<TaskId, &TaskInfo> =
        rest.tasks.iter().map(|info| (info.id, info)).collect();
    let mut asked = BTreeSet::new();
    let mut lost = BTreeSet::new();
    for line in history.lines() {
        let accepted = match &line.what {
            What::Enqueue(new) => {
                asked.insert(new.id);
                continue;
            }
            What::Start(attempt, _) | What::Claimed(attempt, _) => {
                if !asked.contains(&attempt.task) {
                    found.push(Broken::new([attempt.task], "it runs, but nobody enqueued it"));
                }
                attempt.task
            }
            What::Acknowledged(id) | What::Enqueued(id, Answer::Accepted) => *id,
            What::Ticked(ticking, TickReply::Fired) => ticking.task,
            _ => continue,
        };
        if !known.contains_key(&accepted) && lost.insert(accepted) {
            found.push(Broken::new([accepted], "lost: it was accepted, and is not there"));
        }
    }
    for (id, info) in known {
        if info.end.is_none() {
            found.push(Broken::new([id], format!("lost: it never ended, and is {:?}", info.state)));
        }
        if !asked.contains(&id) {
            found.push(Broken::new([id], "it is there, but nobody enqueued it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use super::*;

    #[test]
    fn a_task_that_is_gone_or_never_ends_is_found() {
        let mut example = Example::default();
        let task = example.run_a_task();
        assert_eq!(example.findings(), [""; 0]);
        example.info(task).end = None;
        assert!(example.findings()[0].contains("never ended"));
        example.rest.tasks.clear();
        assert!(example.findings()[0].contains("is not there"));
    }

    #[test]
    fn a_task_that_nobody_enqueued_is_found() {
        let mut example = Example::default();
        let task = example.run_a_task();
        example.lines.retain(|line| !matches!(line.what, What::Enqueue(_)));
        let findings = example.findings();
        assert!(findings.iter().any(|found| found.contains("it runs, but nobody")));
        assert!(findings.iter().any(|found| found.contains("it is there, but nobody")));
        assert!(example.info(task).end.is_some());
    }
}
