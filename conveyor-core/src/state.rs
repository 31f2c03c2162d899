//! The states of a task, and the one table of the moves between them.

use std::fmt;
use std::str::FromStr;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TaskState {
    /// It waits for its time: delayed, snoozed, or backing off before a retry.
    Scheduled,
    /// It is claimable.
    Queued,
    /// A process holds it under a lease.
    Active,
    /// It waits for somebody who can decode it.
    Parked,
    /// It has ended, and its key is free.
    Ended,
}

/// Why a task moves from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Move {
    /// Its time has come.
    Promote,
    /// A process claims it.
    Claim,
    /// An attempt ended it: success, final failure, crash or cancel.
    End,
    /// A failed attempt is tried again later, or a handler snoozes it.
    Postpone,
    /// A process hands it back unfinished, or a dead process's claim is taken back.
    Return,
    /// Its payload cannot be decoded here.
    Park,
    /// Somebody asks for it to be cancelled before it is claimed.
    Cancel,
}

impl TaskState {
    /// Every state.
    pub const ALL: [TaskState; 5] = [
        TaskState::Scheduled,
        TaskState::Queued,
        TaskState::Active,
        TaskState::Parked,
        TaskState::Ended,
    ];

    /// The state after `step`, or `None` if a task in this state cannot make that move.
    ///
    /// This table is the law for every store.
    #[must_use]
    pub const fn after(self, step: Move) -> Option<TaskState> {
        use TaskState::{Active, Ended, Parked, Queued, Scheduled};
        match (self, step) {
            (Scheduled, Move::Promote) => Some(Queued),
            (Queued, Move::Claim) => Some(Active),
            (Active, Move::End) => Some(Ended),
            (Active, Move::Postpone) => Some(Scheduled),
            (Active, Move::Return) => Some(Queued),
            (Active, Move::Park) => Some(Parked),
            (Parked, Move::Return) => Some(Queued),
            (Scheduled | Queued | Parked, Move::Cancel) => Some(Ended),
            _ => None,
        }
    }

    /// Whether a task in this state still holds its key.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !matches!(self, TaskState::Ended)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TaskState::Scheduled => "scheduled",
            TaskState::Queued => "queued",
            TaskState::Active => "active",
            TaskState::Parked => "parked",
            TaskState::Ended => "ended",
        })
    }
}

/// Why a text is no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no state; a task is scheduled, queued, active, parked or ended")]
pub struct TaskStateError {
    text: String,
}

impl FromStr for TaskState {
    type Err = TaskStateError;

    /// The state of that name, as [`Display`](fmt::Display) writes it.
    fn from_str(text: &str) -> Result<Self, TaskStateError> {
        TaskState::ALL
            .into_iter()
            .find(|state| state.to_string() == text)
            .ok_or_else(|| TaskStateError { text: text.chars().take(64).collect() })
    }
}

impl TryFrom<&str> for TaskState {
    type Error = TaskStateError;

    fn try_from(text: &str) -> Result<Self, TaskStateError> {
        text.parse()
    }
}

impl TryFrom<String> for TaskState {
    type Error = TaskStateError;

    fn try_from(text: String) -> Result<Self, TaskStateError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_is_written() {
        for state in TaskState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert_eq!(
            "queud".parse::<TaskState>().unwrap_err().to_string(),
            "\"queud\" is no state; a task is scheduled, queued, active, parked or ended"
        );
    }

    const MOVES: [Move; 7] = [
        Move::Promote,
        Move::Claim,
        Move::End,
        Move::Postpone,
        Move::Return,
        Move::Park,
        Move::Cancel,
    ];

    #[test]
    fn an_end_is_final() {
        for step in MOVES {
            assert_eq!(TaskState::Ended.after(step), None);
        }
    }

    #[test]
    fn every_live_state_can_reach_the_end() {
        for state in TaskState::ALL.into_iter().filter(|state| state.is_live()) {
            let mut reached = vec![state];
            let mut next = 0;
            while let Some(&from) = reached.get(next) {
                for to in MOVES.into_iter().filter_map(|step| from.after(step)) {
                    if !reached.contains(&to) {
                        reached.push(to);
                    }
                }
                next += 1;
            }
            assert!(reached.contains(&TaskState::Ended), "{state}");
        }
    }

    #[test]
    fn only_a_claim_makes_a_task_active() {
        for state in TaskState::ALL {
            for step in MOVES {
                if state.after(step) == Some(TaskState::Active) {
                    assert_eq!((state, step), (TaskState::Queued, Move::Claim));
                }
            }
        }
    }
}
