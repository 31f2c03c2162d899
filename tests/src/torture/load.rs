//! [`Load`]: what a process enqueues.

use std::time::Duration;

use conveyor::{AnyTask, EnqueueError, Manager, Priority, Task, TaskId};
use conveyor_testkit::Random;

use super::kinds::Job;
use super::line::What;
use super::recorder::Recorder;

/// How many keys the keyed tasks share.
const KEYS: usize = 12;

/// What is named as the call that failed, if whoever enqueues was told so.
pub(super) const CALLER: &str = "caller";

/// Tasks of all kinds that harm no process, drawn from a seed.
pub(super) struct Load {
    random: Random,
}

impl Load {
    pub(super) fn new(seed: u64) -> Self {
        Load { random: Random::new(seed) }
    }

    /// How long to wait before the next.
    pub(super) fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.below(100) as u64)
    }

    /// Enqueues one task or several, notes what the caller is told, and gives those accepted.
    pub(super) async fn enqueue(&mut self, manager: &Manager, recorder: &Recorder) -> Vec<TaskId> {
        let many = if self.random.below(8) == 0 { 2 + self.random.below(9) } else { 1 };
        let tasks: Vec<AnyTask> = (0..many).map(|_| self.task()).collect();
        let told = if many == 1 {
            let mut told = Vec::new();
            for task in tasks {
                told.push(manager.enqueue(task).await);
            }
            told
        } else {
            manager.enqueue_all(tasks).await
        };
        let mut accepted = Vec::new();
        for told in told {
            match told {
                Ok(receipt) => {
                    recorder.note(What::Acknowledged(receipt.id()));
                    accepted.push(receipt.id());
                }
                Err(EnqueueError::Duplicate { .. } | EnqueueError::Stopped) => {}
                Err(error) => recorder.note(What::Error(CALLER.into(), error.to_string())),
            }
        }
        accepted
    }

    fn task(&mut self) -> AnyTask {
        let random = &mut self.random;
        let mut below = |bound: usize| random.below(bound);
        let millis = below(30) as u64;
        let job = Job { millis, ..Job::default() };
        let task = match below(100) {
            0..40 => Task::new("plain", Job { children: u32::from(below(5) == 0), ..job }),
            40..65 => {
                let key = format!("key {}", below(KEYS));
                Task::new("keyed", Job { fails: below(3) as u32, ..job }).key(key)
            }
            65..78 => Task::new("retried", Job { fails: below(5) as u32, ..job }),
            78..84 => Task::new("snoozing", job),
            84..96 => {
                let delay = Duration::from_millis(50 + below(3_000) as u64);
                Task::new("plain", job).delay(delay)
            }
            _ => Task::new("slow", Job { millis: 1_000 + below(2_500) as u64, ..job }),
        };
        let priority = [Priority::LOW, Priority::NORMAL, Priority::NORMAL, Priority::HIGH];
        task.priority(priority[below(4)]).erase()
    }
}
