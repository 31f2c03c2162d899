//! The calls of the model.

use crate::Random;

/// A call, or the passing of time. What it refers to (the third last task) is looked up when it is
/// made, so that any of the calls before it can be left out.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Enqueue(Vec<Offer>),
    Claim(Ask),
    /// The last request that got something once more.
    ClaimAgain,
    Settle(Vec<Report>),
    Renew {
        by: usize,
        claims: Vec<usize>,
    },
    Rescue {
        by: usize,
        limit: usize,
    },
    /// A process asks for rescues while time passes, for so many halves of a lease.
    Watch {
        by: usize,
        halves: usize,
    },
    Promote(usize),
    Cancel(Vec<usize>),
    Pause(usize, bool),
    Prune(usize),
    PutSchedule {
        period: u64,
        allow: bool,
    },
    RemoveSchedule,
    Tick {
        stale: bool,
        ahead: u32,
        task: Option<New>,
    },
    Advance(u32),
}

/// What is offered to the store.
#[derive(Clone, Debug)]
pub(super) enum Offer {
    New(New),
    /// A task that was sent before.
    Again(usize),
}

/// A task to make; names are numbers.
#[derive(Clone, Debug)]
pub(super) struct New {
    pub(super) kind: usize,
    pub(super) queue: usize,
    pub(super) key: Option<usize>,
    pub(super) priority: usize,
    pub(super) delay: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) by: usize,
    /// A bit for each queue.
    pub(super) queues: usize,
    pub(super) rooms: [usize; 2],
    pub(super) least: usize,
    pub(super) room: usize,
    pub(super) alone: bool,
}

/// A settle of one of the claims.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) claim: usize,
    pub(super) verdict: Choice,
    pub(super) child: Option<New>,
    pub(super) fence: Proof,
    pub(super) panicked: bool,
    pub(super) timed_out: bool,
}

/// What a settle says; its delay is in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    Succeed,
    Retry(u32),
    Fail,
    Cancel,
    Snooze(u32),
    HandBack,
    GiveBack,
    Interrupt,
    Park,
}

/// What a settle proves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Proof {
    Right,
    WrongEpoch,
    WrongProcess,
}

fn one_in(random: &mut Random, chances: usize) -> bool {
    random.below(chances) == 0
}

/// Mostly one, sometimes a few.
fn batch<T>(random: &mut Random, mut draw: impl FnMut(&mut Random) -> T) -> Vec<T> {
    let count = if one_in(random, 3) { 1 + random.below(5) } else { 1 };
    (0..count).map(|_| draw(random)).collect()
}

impl Offer {
    fn draw(random: &mut Random) -> Self {
        if one_in(random, 8) {
            Offer::Again(random.below(8))
        } else {
            Offer::New(New::draw(random))
        }
    }
}

impl Report {
    fn draw(random: &mut Random) -> Self {
        Report {
            claim: random.below(8),
            verdict: Choice::draw(random),
            child: New::maybe(random, 5),
            fence: match random.below(10) {
                0 => Proof::WrongEpoch,
                1 => Proof::WrongProcess,
                _ => Proof::Right,
            },
            panicked: one_in(random, 5),
            timed_out: one_in(random, 5),
        }
    }
}

impl New {
    fn draw(random: &mut Random) -> Self {
        New {
            kind: random.below(2),
            queue: random.below(2),
            key: (random.below(5) < 2).then(|| random.below(2)),
            priority: random.below(3),
            delay: if one_in(random, 4) { 1 + random.below(8) as u32 } else { 0 },
        }
    }

    fn maybe(random: &mut Random, chances: usize) -> Option<Self> {
        one_in(random, chances).then(|| New::draw(random))
    }
}

impl Ask {
    fn draw(random: &mut Random) -> Self {
        Ask {
            by: random.below(3),
            queues: 1 + random.below(3),
            rooms: [random.below(4), random.below(4)],
            least: random.below(6),
            room: random.below(6),
            alone: random.below(10) < 3,
        }
    }
}

impl Choice {
    fn draw(random: &mut Random) -> Self {
        let delay = if one_in(random, 2) { 0 } else { random.below(8) as u32 };
        match random.below(9) {
            0 => Choice::Succeed,
            1 => Choice::Retry(delay),
            2 => Choice::Fail,
            3 => Choice::Cancel,
            4 => Choice::Snooze(delay),
            5 => Choice::HandBack,
            6 => Choice::GiveBack,
            7 => Choice::Interrupt,
            _ => Choice::Park,
        }
    }
}

impl Step {
    /// The same batch without one of its elements, if there is one and another beside it.
    pub(super) fn without(&self, element: usize) -> Option<Self> {
        fn less<T: Clone>(batch: &[T], element: usize) -> Option<Vec<T>> {
            let fewer = || [&batch[..element], &batch[element + 1..]].concat();
            (batch.len() > 1 && element < batch.len()).then(fewer)
        }
        match self {
            Step::Enqueue(batch) => less(batch, element).map(Step::Enqueue),
            Step::Settle(batch) => less(batch, element).map(Step::Settle),
            Step::Cancel(batch) => less(batch, element).map(Step::Cancel),
            Step::Renew { by, claims } => {
                less(claims, element).map(|claims| Step::Renew { by: *by, claims })
            }
            _ => None,
        }
    }

    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(61) {
            0..12 => Step::Enqueue(batch(random, Offer::draw)),
            12..22 => Step::Claim(Ask::draw(random)),
            22 => Step::ClaimAgain,
            23..33 => Step::Settle(batch(random, Report::draw)),
            33..35 => {
                let by = random.below(3);
                Step::Renew { by, claims: batch(random, |random| random.below(8)) }
            }
            35..40 => Step::Rescue { by: random.below(3), limit: random.below(4) },
            40 => Step::Promote(random.below(3)),
            41..43 => Step::Cancel(batch(random, |random| random.below(12))),
            43 => Step::Pause(random.below(2), one_in(random, 2)),
            44 => Step::Prune(random.below(4)),
            45 => {
                Step::PutSchedule { period: 1 + random.below(2) as u64, allow: one_in(random, 2) }
            }
            46 => Step::RemoveSchedule,
            47..50 => Step::Tick {
                stale: one_in(random, 5),
                ahead: random.below(3) as u32,
                task: if one_in(random, 5) { None } else { Some(New::draw(random)) },
            },
            50..54 => Step::Watch { by: random.below(3), halves: 1 + random.below(4) },
            _ => Step::Advance([1, 2, 5, 5, 5, 10, 30][random.below(7)]),
        }
    }
}
