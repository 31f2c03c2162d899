//! Streams: a queue's tasks of one kind, with their counts. Names become numbers here.

use hashbrown::HashMap;

use crate::metrics::{Counters, Counts};
use crate::name::{Kind, QueueName};
use crate::store::Demand;

type ByName<N> = HashMap<N, u32, foldhash::fast::RandomState>;

/// All streams that there ever was a task of, and the queues and kinds they are made of.
#[derive(Debug, Default)]
pub(super) struct Streams {
    queues: Vec<Queue>,
    queues_by_name: ByName<QueueName>,
    kinds_by_name: ByName<Kind>,
    streams: Vec<Stream>,
    by_parts: HashMap<(u32, u32), u32, foldhash::fast::RandomState>,
    /// The stream that was asked for last; most services have few, and one task is like the next.
    recent: u32,
    /// The room of each kind and the choice of each queue in the claim under way.
    room: Vec<usize>,
    chosen: Vec<bool>,
    /// The numbers of the chosen queues.
    asked: Vec<u32>,
}

#[derive(Debug)]
struct Queue {
    paused: bool,
    /// Tasks that claims took since the last one that went to the oldest.
    since_ageing: u32,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) queue: QueueName,
    pub(super) kind: Kind,
    pub(super) counts: Counts,
    queue_number: u32,
    kind_number: u32,
}

impl Streams {
    /// The number of a stream, which is made if it is new.
    pub(super) fn number(&mut self, queue: &QueueName, kind: &Kind) -> u32 {
        let recent = self.streams.get(self.recent as usize);
        if recent.is_none_or(|recent| recent.kind != *kind || recent.queue != *queue) {
            self.recent = self.find_or_make(queue, kind);
        }
        self.recent
    }

    fn find_or_make(&mut self, queue: &QueueName, kind: &Kind) -> u32 {
        let queue_number = self.queue_number(queue);
        let kind_number = match self.kinds_by_name.get(kind) {
            Some(&number) => number,
            None => {
                let number = next_number(self.kinds_by_name.len());
                self.kinds_by_name.insert(kind.clone(), number);
                number
            }
        };
        *self.by_parts.entry((queue_number, kind_number)).or_insert_with(|| {
            self.streams.push(Stream {
                queue: queue.clone(),
                kind: kind.clone(),
                counts: Counts::default(),
                queue_number,
                kind_number,
            });
            next_number(self.streams.len() - 1)
        })
    }

    fn queue_number(&mut self, queue: &QueueName) -> u32 {
        if let Some(&number) = self.queues_by_name.get(queue) {
            return number;
        }
        let number = next_number(self.queues.len());
        self.queues.push(Queue { paused: false, since_ageing: 0 });
        self.queues_by_name.insert(queue.clone(), number);
        number
    }

    pub(super) fn get(&self, stream: u32) -> &Stream {
        &self.streams[stream as usize]
    }

    pub(super) fn counts(&mut self, stream: u32) -> &mut Counts {
        &mut self.streams[stream as usize].counts
    }

    pub(super) fn counters(&self) -> Counters {
        let each = self
            .streams
            .iter()
            .map(|stream| ((stream.queue.clone(), stream.kind.clone()), stream.counts))
            .collect();
        Counters { each }
    }

    /// Pauses or resumes a queue; `false` if it was so already.
    pub(super) fn pause(&mut self, queue: &QueueName, paused: bool) -> bool {
        let number = self.queue_number(queue);
        let queue = &mut self.queues[number as usize];
        std::mem::replace(&mut queue.paused, paused) != paused
    }

    /// The queues that are paused, in the order of their names.
    pub(super) fn paused(&self) -> Vec<QueueName> {
        let paused = |&(_, &number): &(&QueueName, &u32)| self.queues[number as usize].paused;
        let mut names: Vec<QueueName> =
            self.queues_by_name.iter().filter(paused).map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Notes what a claim has room for, so that [`Streams::admits`] can tell.
    pub(super) fn prepare(&mut self, demand: &Demand<'_>) {
        self.room.clear();
        self.room.resize(self.kinds_by_name.len(), 0);
        for wanted in demand.kinds {
            if let Some(&number) = self.kinds_by_name.get(&wanted.kind) {
                self.room[number as usize] = wanted.room;
            }
        }
        self.chosen.clear();
        self.chosen.resize(self.queues.len(), false);
        self.asked.clear();
        for queue in demand.queues {
            let Some(&number) = self.queues_by_name.get(queue) else {
                continue;
            };
            let chosen = &mut self.chosen[number as usize];
            if !*chosen && !self.queues[number as usize].paused {
                *chosen = true;
                self.asked.push(number);
            }
        }
    }

    /// Whether the claim under way has room for a task of the stream.
    pub(super) fn admits(&self, stream: u32) -> bool {
        let stream = self.get(stream);
        self.chosen[stream.queue_number as usize] && self.room[stream.kind_number as usize] > 0
    }

    /// Notes that the claim under way took a task of the stream.
    pub(super) fn take(&mut self, stream: u32) {
        let kind = self.get(stream).kind_number;
        self.room[kind as usize] -= 1;
    }

    /// Whether the next task of the claim under way is the ageing share's: one in so many of those
    /// taken from a queue, whoever takes them and from which other queues beside.
    pub(super) fn is_ageing_turn(&self, every: u32) -> bool {
        self.asked.iter().any(|&queue| self.queues[queue as usize].since_ageing + 1 >= every)
    }

    /// Notes that a task was taken, by the ageing share or not.
    pub(super) fn count_turn(&mut self, ageing: bool) {
        for &queue in &self.asked {
            let since = &mut self.queues[queue as usize].since_ageing;
            *since = if ageing { 0 } else { *since + 1 };
        }
    }
}

fn next_number(count: usize) -> u32 {
    u32::try_from(count).expect("invariant: nobody has four billion queues and kinds")
}
