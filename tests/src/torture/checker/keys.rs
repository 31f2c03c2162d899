//! At most one live task has a kind and a key.

use std::collections::BTreeMap;

use conveyor::TaskId;

use super::{Broken, Findings, History};
use crate::torture::line::{Answer, Recorded, What};

/// When a task was live for certain: from the place of the first line to the last that tells so.
#[derive(Clone, Copy)]
struct Live {
    task: TaskId,
    from: usize,
    to: usize,
}

pub(super) fn check(history: &History, found: &mut Findings) {
    let mut keys: BTreeMap<(String, String), Vec<Live>> = BTreeMap::new();
    for (task, lines) in history.tasks() {
        let mut of = None;
        let (mut from, mut to) = (None, 0);
        // Where settles were asked for: if one takes effect, the task was live there.
        let mut asked = BTreeMap::new();
        for (at, line) in lines {
            match &line.what {
                What::Enqueue(new) => of = new.key.clone().map(|key| (new.kind.clone(), key)),
                What::Enqueued(_, Answer::Accepted) | What::Claimed(..) => {
                    from.get_or_insert(at);
                }
                What::Settle(attempt, _) => _ = asked.insert(*attempt, at),
                What::Settled(attempt, _, Recorded::Applied) => {
                    to = to.max(asked.get(attempt).copied().unwrap_or(0));
                }
                _ => {}
            }
        }
        // The reply may be written so late that nothing is certain.
        if let (Some(of), Some(from)) = (of, from)
            && from < to
        {
            keys.entry(of).or_default().push(Live { task, from, to });
        }
    }
    for ((kind, key), mut holders) in keys {
        holders.sort_by_key(|live| live.from);
        for pair in holders.windows(2) {
            if pair[1].from < pair[0].to {
                let what = format!("two live tasks have the kind {kind} and the key {key:?}");
                found.push(Broken::new([pair[0].task, pair[1].task], what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::Example;
    use crate::torture::line::Ending;

    #[test]
    fn a_key_that_two_live_tasks_have_is_found() {
        for (first, second) in [("k", "k"), ("k", "other")] {
            let mut example = Example::default();
            let one = example.enqueue("keyed", Some(first));
            example.by(1).claim(one, 1);
            example.settle(one, 1, Ending::Retry);
            // While that one waits for its retry.
            let two = example.enqueue("keyed", Some(second));
            example.by(2).claim(two, 1);
            example.by(1).claim(one, 2);
            example.settle(one, 2, Ending::Succeed);
            example.by(2).settle(two, 1, Ending::Succeed);
            let found = example.findings().iter().any(|found| found.contains("two live tasks"));
            assert_eq!(found, first == second);
        }
    }

    #[test]
    fn a_key_is_free_at_the_end() {
        let mut example = Example::default();
        let one = example.enqueue("keyed", Some("k"));
        example.by(1).claim(one, 1);
        example.settle(one, 1, Ending::Succeed);
        let two = example.enqueue("keyed", Some("k"));
        example.by(2).claim(two, 1);
        example.settle(two, 1, Ending::Succeed);
        assert!(!example.findings().iter().any(|found| found.contains("two live tasks")));
    }
}
