//! Priority lanes: claimable tasks in the order in which they are given out.
//!
//! A lane holds the tasks of one priority and one *stream* (a queue's tasks of one kind), in
//! the order of their [`Place`]. [`Lanes`] finds the next task over all lanes that a claim admits:
//! by priority, then place; or, for the ageing share, by place alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::priority::Priority;
use crate::time::Timestamp;

/// One claim in this many goes to the oldest claimable task, whatever its priority: so a task
/// starts within 16 times as many claims as there are older tasks, and none starves.
pub const AGEING: u32 = 16;

/// Where a task stands in its lane: by due time, then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When the task became or becomes due.
    pub due: Timestamp,
    /// The number of the task in the order of acceptance.
    pub age: u64,
}

/// Which lane a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// The task's priority.
    pub priority: Priority,
    /// The number of its queue and kind, taken together.
    pub stream: u32,
}

/// Claimable tasks, each a number that means something to the owner.
#[derive(Debug, Default)]
pub struct Lanes {
    levels: BTreeMap<Reverse<Priority>, Level>,
    len: usize,
}

/// The lanes of one priority, in the order of their streams.
#[derive(Debug, Default)]
struct Level {
    lanes: Vec<Lane>,
    len: usize,
}

#[derive(Debug)]
struct Lane {
    stream: u32,
    /// In the order of places; the first one is never a gap.
    waiting: VecDeque<Waiting>,
    gaps: usize,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    place: Place,
    /// [`GAP`] if the task was removed from the middle.
    task: u32,
}

const GAP: u32 = u32::MAX;

/// Beyond so many levels, those without tasks are dropped.
const KEPT_LEVELS: usize = 64;

impl Lanes {
    /// No tasks.
    #[must_use]
    pub fn new() -> Self {
        Lanes::default()
    }

    /// How many tasks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// For how many tasks memory is allocated.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let lanes = self.levels.values().flat_map(|level| &level.lanes);
        lanes.map(|lane| lane.waiting.capacity()).sum()
    }

    /// Puts a task into its lane. At the end of the lane this takes constant time.
    ///
    /// # Panics
    /// If `task` is `u32::MAX`.
    pub fn push(&mut self, id: LaneId, place: Place, task: u32) {
        assert!(task != GAP, "u32::MAX is no task");
        let level = self.levels.entry(Reverse(id.priority)).or_default();
        let at = match level.lanes.binary_search_by_key(&id.stream, |lane| lane.stream) {
            Ok(at) => at,
            Err(at) => {
                level.lanes.insert(at, Lane::new(id.stream));
                at
            }
        };
        level.lanes[at].push(Waiting { place, task });
        level.len += 1;
        self.len += 1;
        if self.levels.len() > KEPT_LEVELS {
            self.levels.retain(|_, level| level.len > 0);
        }
    }

    /// Takes a task out of the middle of its lane; `false` if it is not at that place.
    pub fn remove(&mut self, id: LaneId, place: Place) -> bool {
        let Some(level) = self.levels.get_mut(&Reverse(id.priority)) else {
            return false;
        };
        let Ok(at) = level.lanes.binary_search_by_key(&id.stream, |lane| lane.stream) else {
            return false;
        };
        let removed = level.lanes[at].remove(place);
        if removed {
            level.len -= 1;
            self.len -= 1;
        }
        removed
    }

    /// Takes the next task of at least the priority `min` whose stream is admitted: of the highest
    /// priority, and of these the one with the least place.
    pub fn pop(&mut self, min: Priority, mut admit: impl FnMut(u32) -> bool) -> Option<u32> {
        for (_, level) in self.levels.range_mut(..=Reverse(min)) {
            if level.len == 0 {
                continue;
            }
            if let Some((at, _)) = level.first(&mut admit) {
                self.len -= 1;
                return Some(level.pop(at));
            }
        }
        None
    }

    /// Takes the task with the least place of all whose stream is admitted, whatever its priority.
    pub fn pop_oldest(&mut self, mut admit: impl FnMut(u32) -> bool) -> Option<u32> {
        let (priority, at, _) = self
            .levels
            .iter()
            .filter(|(_, level)| level.len > 0)
            .filter_map(|(&priority, level)| {
                level.first(&mut admit).map(|(at, place)| (priority, at, place))
            })
            .min_by_key(|&(_, _, place)| place)?;
        self.len -= 1;
        self.levels.get_mut(&priority).map(|level| level.pop(at))
    }
}

impl Level {
    /// The lane whose first task has the least place, among those that are admitted.
    fn first(&self, admit: &mut impl FnMut(u32) -> bool) -> Option<(usize, Place)> {
        let mut least: Option<(usize, Place)> = None;
        for (at, lane) in self.lanes.iter().enumerate() {
            let Some(first) = lane.waiting.front() else {
                continue;
            };
            if least.is_none_or(|(_, place)| first.place < place) && admit(lane.stream) {
                least = Some((at, first.place));
            }
        }
        least
    }

    fn pop(&mut self, at: usize) -> u32 {
        self.len -= 1;
        self.lanes[at].pop()
    }
}

impl Lane {
    fn new(stream: u32) -> Self {
        Lane { stream, waiting: VecDeque::new(), gaps: 0 }
    }

    fn push(&mut self, new: Waiting) {
        if self.waiting.back().is_none_or(|last| last.place < new.place) {
            self.waiting.push_back(new);
        } else {
            let at = self.waiting.partition_point(|waiting| waiting.place < new.place);
            match self.waiting.get_mut(at) {
                // A task that comes back to the very place that it left.
                Some(same) if same.place == new.place && same.task == GAP => {
                    same.task = new.task;
                    self.gaps -= 1;
                }
                _ => self.waiting.insert(at, new),
            }
        }
    }

    fn remove(&mut self, place: Place) -> bool {
        let at = self.waiting.partition_point(|waiting| waiting.place < place);
        match self.waiting.get_mut(at) {
            Some(found) if found.place == place && found.task != GAP => found.task = GAP,
            _ => return false,
        }
        self.gaps += 1;
        // Closing every gap at once would move half the lane each time.
        if self.gaps > 32 && self.gaps > self.waiting.len() / 2 {
            self.waiting.retain(|waiting| waiting.task != GAP);
            self.gaps = 0;
        }
        self.skip_gaps();
        true
    }

    /// Takes the first task. Only for a lane that has one.
    fn pop(&mut self) -> u32 {
        let first = self.waiting.pop_front().expect("invariant: a lane that was chosen has a task");
        self.skip_gaps();
        first.task
    }

    fn skip_gaps(&mut self) {
        while self.waiting.front().is_some_and(|first| first.task == GAP) {
            self.waiting.pop_front();
            self.gaps -= 1;
        }
        // What a burst needed is given back when it is over.
        if self.waiting.capacity() > 1024 && self.waiting.len() < self.waiting.capacity() / 8 {
            self.waiting.shrink_to(self.waiting.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn place(due: i64, age: u64) -> Place {
        Place { due: Timestamp::from_micros(due), age }
    }

    #[test]
    fn a_higher_lane_goes_first_and_the_oldest_by_ageing() {
        let mut lanes = Lanes::new();
        let low = LaneId { priority: Priority::LOW, stream: 0 };
        let high = LaneId { priority: Priority::HIGH, stream: 1 };
        lanes.push(low, place(1, 1), 10);
        lanes.push(high, place(2, 2), 20);
        lanes.push(high, place(3, 3), 30);
        assert_eq!(lanes.pop(Priority::MIN, |_| true), Some(20));
        assert_eq!(lanes.pop_oldest(|_| true), Some(10));
        assert_eq!(lanes.pop(Priority::CRITICAL, |_| true), None, "reserved for more urgent ones");
        assert_eq!(lanes.pop(Priority::HIGH, |stream| stream != 1), None, "not admitted");
        assert_eq!(lanes.pop(Priority::HIGH, |_| true), Some(30));
    }

    #[test]
    fn removing_most_of_a_lane_leaves_no_memory_behind() {
        let mut lanes = Lanes::new();
        let id = LaneId { priority: Priority::NORMAL, stream: 0 };
        for age in 0..100_000 {
            lanes.push(id, place(0, age), age as u32);
        }
        for age in 1..100_000 {
            assert!(lanes.remove(id, place(0, age)));
        }
        let lane = &lanes.levels[&Reverse(Priority::NORMAL)].lanes[0];
        assert!(lane.waiting.len() < 100, "{} are left", lane.waiting.len());
        assert_eq!(lanes.pop(Priority::MIN, |_| true), Some(0));
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_lane_that_is_never_empty_shrinks_after_a_burst() {
        let mut lanes = Lanes::new();
        let id = LaneId { priority: Priority::NORMAL, stream: 0 };
        for age in 0..100_000 {
            lanes.push(id, place(0, age), age as u32);
        }
        for task in 0..99_990 {
            assert_eq!(lanes.pop(Priority::MIN, |_| true), Some(task));
        }
        assert!(lanes.capacity() <= 1024, "{}", lanes.capacity());
    }

    #[test]
    fn priorities_that_nobody_uses_any_more_leave_no_memory_behind() {
        let mut lanes = Lanes::new();
        let id = |priority| LaneId { priority: Priority::new(priority), stream: 0 };
        for task in 0..1_000 {
            lanes.push(id(task as i16), place(0, task.into()), task);
            if task >= 3 {
                assert!(lanes.remove(id(task as i16), place(0, task.into())));
            }
        }
        assert!(lanes.levels.len() <= KEPT_LEVELS + 1, "{} are left", lanes.levels.len());
        assert_eq!(
            [0; 4].map(|_| lanes.pop(Priority::MIN, |_| true)),
            [Some(2), Some(1), Some(0), None]
        );
    }

    /// What the counts say, counted again.
    fn check(lanes: &Lanes) {
        for level in lanes.levels.values() {
            for lane in &level.lanes {
                let gaps = lane.waiting.iter().filter(|waiting| waiting.task == GAP).count();
                assert_eq!(lane.gaps, gaps);
                assert!(lane.waiting.front().is_none_or(|first| first.task != GAP));
            }
            let tasks = level.lanes.iter().map(|lane| lane.waiting.len() - lane.gaps);
            assert_eq!(level.len, tasks.sum::<usize>());
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push {
            priority: i16,
            stream: u32,
            due: i64,
        },
        Remove(usize),
        /// Takes a task away, and puts it back to where it was.
        Return(usize),
        Pop {
            min: i16,
            admitted: u32,
        },
        PopOldest {
            admitted: u32,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (-1i16..2, 0u32..2, 0i64..6)
                .prop_map(|(priority, stream, due)| Step::Push { priority, stream, due }),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => any::<usize>().prop_map(Step::Return),
            2 => (-2i16..3, 0u32..8).prop_map(|(min, admitted)| Step::Pop { min, admitted }),
            1 => (0u32..8).prop_map(|admitted| Step::PopOldest { admitted }),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// Against a sorted set, which is what the lanes are meant to be.
        #[test]
        fn lanes_give_out_what_a_sorted_set_would(steps in steps()) {
            let mut lanes = Lanes::new();
            let mut model: BTreeSet<(Reverse<Priority>, Place, u32, u32)> = BTreeSet::new();
            for (number, step) in (0u32..).zip(steps) {
                match step {
                    Step::Push { priority, stream, due } => {
                        let priority = Priority::new(priority);
                        let place = place(due, u64::from(number));
                        lanes.push(LaneId { priority, stream }, place, number);
                        model.insert((Reverse(priority), place, stream, number));
                    }
                    Step::Remove(nth) => {
                        let Some(&found) = model.iter().nth(nth % model.len().max(1)) else { continue };
                        let (Reverse(priority), place, stream, _) = found;
                        let id = LaneId { priority, stream };
                        prop_assert!(lanes.remove(id, place));
                        prop_assert!(!lanes.remove(id, place), "it is gone");
                        model.remove(&found);
                    }
                    Step::Return(nth) => {
                        let Some(&found) = model.iter().nth(nth % model.len().max(1)) else { continue };
                        let (Reverse(priority), place, stream, task) = found;
                        let id = LaneId { priority, stream };
                        prop_assert!(lanes.remove(id, place));
                        lanes.push(id, place, task);
                    }
                    Step::Pop { min, admitted } => {
                        let min = Priority::new(min);
                        let admit = |stream: u32| admitted & (1 << stream) != 0;
                        let next = model
                            .iter()
                            .find(|(priority, _, stream, _)| priority.0 >= min && admit(*stream))
                            .copied();
                        prop_assert_eq!(lanes.pop(min, admit), next.map(|found| found.3));
                        next.map(|found| model.remove(&found));
                    }
                    Step::PopOldest { admitted } => {
                        let admit = |stream: u32| admitted & (1 << stream) != 0;
                        let next = model
                            .iter()
                            .filter(|(_, _, stream, _)| admit(*stream))
                            .min_by_key(|(_, place, _, _)| *place)
                            .copied();
                        prop_assert_eq!(lanes.pop_oldest(admit), next.map(|found| found.3));
                        next.map(|found| model.remove(&found));
                    }
                }
                prop_assert_eq!(lanes.len(), model.len());
                check(&lanes);
            }
        }
    }
}
