//! What the test does to a [`Cluster`]: it gives it tasks, and has things go wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor::{AnyTask, EnqueueError, IntoTask, Receipt, Task, TaskId};

use super::cluster::{Cluster, MAIL, Node};
use super::history::{Change, History, Reply, What};
use super::workers::{GHOST, Job, KINDS, Step, TICK, Then};

impl Cluster {
    /// Takes one step of the test's: mostly tasks, now and then a mishap.
    pub async fn step(&mut self) {
        self.clear_away();
        match self.below(100) {
            0..60 => self.enqueue_some(),
            60..68 => self.cancel_one(),
            68..72 => self.pause_for_a_while(),
            72..75 => self.set_schedule(),
            75..80 if self.options.crashes => self.crash_one().await,
            80..85 if self.options.stops => self.stop_one(),
            85..89 if self.options.shutdowns && self.options.shared => self.replace_one().await,
            89..93 if !self.options.longest_absence.is_zero() => self.cut_off_one(),
            93..96 if self.options.skew => self.skew_one(),
            96..98 => self.register_again(),
            _ => self.enqueue_some(),
        }
        self.sim.advance(self.millis(self.options.pace)).await;
        self.resume_who_is_due();
    }

    pub(super) fn enqueue_some(&mut self) {
        let some: Vec<(u32, AnyTask)> = (0..=self.below(3)).map(|_| self.task()).collect();
        let (history, ids) = (self.history.clone(), Arc::clone(&self.ids));
        if some.len() > 1 && self.one_in(2) {
            self.call(|manager| async move {
                let (numbers, tasks): (Vec<u32>, Vec<AnyTask>) = some.into_iter().unzip();
                for (number, result) in numbers.into_iter().zip(manager.enqueue_all(tasks).await) {
                    note_receipt(&history, &ids, number, result);
                }
            });
            return;
        }
        let patient = self.one_in(2);
        for (number, task) in some {
            let (history, ids) = (history.clone(), Arc::clone(&ids));
            self.call(move |manager| async move {
                let result = if patient {
                    manager.enqueue(task).await
                } else {
                    manager.try_enqueue(task).await
                };
                note_receipt(&history, &ids, number, result);
            });
        }
    }

    /// A task of any sort, and its number.
    fn task(&mut self) -> (u32, AnyTask) {
        let number = self.next_number;
        self.next_number += 1;
        let mut kind = KINDS[[0, 0, 0, 1, 1, 2, 3][self.below(7)]].name;
        if self.ghosts < 3 && self.one_in(40) {
            self.ghosts += 1;
            kind = GHOST;
        }
        let mut steps: Vec<Step> = (0..=self.below(3)).map(|_| self.job_step()).collect();
        if let Some(Step { then: then @ Then::Snooze { .. }, .. }) = steps.last_mut() {
            // Or it would never end.
            *then = Then::Succeed;
        }
        let mut task = Task::new(kind, Job { number, steps });
        if self.one_in(2) {
            task = task.priority([-10, 0, 3, 10, 20][self.below(5)]);
        }
        if self.one_in(3) {
            task = task.key(format!("key {}", self.below(4)));
        }
        if self.one_in(4) {
            task = task.delay(self.millis(8_000));
        }
        if self.one_in(6) {
            task = task.queue(MAIL);
        }
        if self.one_in(10) {
            task = task.timeout(Duration::from_millis(500 + self.sim.random() % 3_000));
        }
        if self.one_in(10) {
            task = task.retries(self.below(3) as u32);
        }
        (number, task.into_task())
    }

    fn job_step(&self) -> Step {
        let works = match self.below(10) {
            0..4 => 0,
            4..8 => self.sim.random() % 500,
            8 => self.sim.random() % 6_000,
            _ => self.sim.random() % 20_000,
        };
        let then = match self.below(40) {
            0..22 => Then::Succeed,
            22..28 => Then::Fail,
            28 => Then::FailForGood,
            29 => Then::RetryAfter { millis: self.sim.random() % 5_000 },
            30..33 => Then::Panic,
            33..35 => Then::Snooze { millis: self.sim.random() % 5_000 },
            35 => Then::CallOff,
            // Whoever waits for room in a handler may wait for itself.
            36..38 if self.options.capacity.is_none() => Then::Enqueue,
            38 if self.options.crashes => Then::Die,
            _ => Then::Succeed,
        };
        Step { works, heeds: !self.one_in(5), then }
    }

    fn cancel_one(&self) {
        let id = {
            let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            if ids.is_empty() {
                return;
            }
            // The last ones are the likeliest to be live.
            let back = self.below(ids.len().min(12));
            ids[ids.len() - 1 - back]
        };
        self.call(|manager| async move { drop(manager.cancel(id).await) });
    }

    fn pause_for_a_while(&self) {
        let queue = if self.one_in(2) { MAIL } else { "default" };
        let (sim, time) = (self.sim.clone(), self.millis(5_000));
        self.call(move |manager| async move {
            drop(manager.pause(queue).await);
            sim.advance(time).await;
            while manager.resume(queue).await.is_err() {
                sim.advance(Duration::from_millis(100)).await;
            }
        });
    }

    fn set_schedule(&self) {
        let schedule = self.tick_schedule([TICK, TICK * 2][self.below(2)]);
        self.call(|manager| async move { drop(manager.set_schedule("tick", schedule).await) });
    }

    async fn crash_one(&mut self) {
        if let Some(node) = self.any_node()
            && let Some(process) = &node.process
        {
            self.note(node.number, Change::Crash);
            process.crash();
        }
        self.clear_away();
        if self.nodes.is_empty() || self.one_in(2) {
            self.fill_up().await;
        }
    }

    fn stop_one(&mut self) {
        let longest = self.options.lease.as_millis() as u64 * 3;
        let goes_on = self.sim.elapsed() + self.millis(longest);
        let at = self.below(self.nodes.len().max(1));
        let Some(node) = self.nodes.get_mut(at) else { return };
        if let Some(process) = &node.process
            && node.goes_on.is_none()
        {
            process.pause();
            node.goes_on = Some(goes_on);
            let number = node.number;
            self.note(number, Change::Stop);
        }
    }

    /// Shuts a process down as a deployment does: a new one is up first.
    pub(super) async fn replace_one(&mut self) {
        let up: Vec<usize> =
            (0..self.nodes.len()).filter(|&at| self.nodes[at].goes_on.is_none()).collect();
        if up.is_empty() {
            return;
        }
        let node = self.nodes.remove(up[self.below(up.len())]);
        self.start_process().await;
        let grace = self.millis(5_000);
        self.shut_down(node, grace);
    }

    fn cut_off_one(&self) {
        let time = self.options.longest_absence.mul_f64(self.below(1_000) as f64 / 1_000.0);
        // The whole store, or the way of one.
        if self.one_in(3) {
            for node in &self.nodes {
                cut_off(&self.history, node, time);
            }
        } else if let Some(node) = self.any_node() {
            cut_off(&self.history, node, time);
        }
    }

    fn skew_one(&self) {
        if let Some(Node { process: Some(process), .. }) = self.any_node() {
            self.skew(process);
        }
    }

    /// Registers a worker again that a process has already.
    fn register_again(&self) {
        if let Some(node) = self.any_node() {
            let again = node.place.worker(&KINDS[0]);
            drop(node.manager.register(again));
        }
    }
}

fn cut_off(history: &History, node: &Node, time: Duration) {
    if let Some(wire) = &node.wire {
        history.note(node.number, What::World(Change::Away(time)));
        wire.away_for(time);
    }
}

fn note_receipt(
    history: &History,
    ids: &Mutex<Vec<TaskId>>,
    number: u32,
    result: Result<Receipt, EnqueueError>,
) {
    let told = match result {
        Ok(receipt) => {
            ids.lock().unwrap_or_else(PoisonError::into_inner).push(receipt.id());
            Reply::Accepted(receipt.id())
        }
        Err(EnqueueError::Duplicate { .. }) => Reply::Refused,
        Err(EnqueueError::Store(_)) => Reply::Unknown,
        Err(_) => Reply::Refused,
    };
    history.note(usize::MAX, What::Receipt(number, told));
}
