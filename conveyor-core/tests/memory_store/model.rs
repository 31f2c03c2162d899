//! Any sequence of calls from three processes with a moving clock, held against the
//! [reference](crate::reference): the same replies, the same tasks, the same counters.

use std::time::Duration;

use conveyor_core::metrics::Counts;
use conveyor_core::store::{
    ClaimRequest, Claimed, Demand, KindRoom, NewTask, RescueRequest, ScheduleDefinition,
    ScheduleState, Settle, Tick, Verdict,
};
use conveyor_core::{
    Fence, Incarnation, Key, Kind, Overlap, Priority, QueueName, Retention, Schedule, TaskId,
};
use proptest::prelude::*;

use crate::reference::{Given, Reference};
use crate::setup::{
    A, B, C, LEASE, Options, Set, Setup, cancel, done, fail, park, retry, secs, snooze, task,
};

const PROCESSES: [Incarnation; 3] = [A, B, C];
const KINDS: [&str; 2] = ["work", "play"];
const QUEUES: [&str; 2] = ["q", "x"];
const KEYS: [&str; 2] = ["k", "l"];
const PRIORITIES: [Priority; 3] = [Priority::LOW, Priority::NORMAL, Priority::HIGH];
const CAPACITY: usize = 15;
const CRASH_BUDGET: u32 = 2;
const RETENTION: Retention = Retention { count: 6, age: Duration::from_secs(100) };

#[derive(Clone, Debug)]
enum Step {
    Enqueue(New),
    EnqueueAgain(usize),
    Claim {
        by: usize,
        queues: usize,
        rooms: [usize; 2],
        least: usize,
        room: usize,
        alone: bool,
        again: bool,
    },
    Settle {
        nth: usize,
        verdict: usize,
        delay: u64,
        child: Option<New>,
        wrong: usize,
        marks: (bool, bool),
    },
    Renew {
        by: usize,
        nth: usize,
    },
    Rescue {
        by: usize,
        limit: usize,
    },
    Promote(usize),
    Cancel(usize),
    Pause(usize, bool),
    Prune(usize),
    Put {
        period: u64,
        allow: bool,
    },
    Remove,
    Tick {
        stale: bool,
        ahead: u64,
        task: Option<New>,
    },
    Advance(Duration),
    SetBack(Duration),
}

#[derive(Clone, Debug)]
struct New {
    kind: usize,
    queue: usize,
    key: Option<usize>,
    priority: usize,
    delay: u64,
}

fn new() -> impl Strategy<Value = New> {
    let key = prop_oneof![3 => Just(None), 2 => (0usize..2).prop_map(Some)];
    let delay = prop_oneof![3 => Just(0), 1 => 1u64..20];
    (0usize..2, 0usize..2, key, 0usize..3, delay)
        .prop_map(|(kind, queue, key, priority, delay)| New { kind, queue, key, priority, delay })
}

fn claim() -> impl Strategy<Value = Step> {
    let rooms = [0usize..4, 0usize..4];
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.1));
    (0usize..3, 1usize..4, rooms, 0usize..4, 0usize..6, flags).prop_map(
        |(by, queues, rooms, least, room, (alone, again))| Step::Claim {
            by,
            queues,
            rooms,
            least,
            room,
            alone,
            again,
        },
    )
}

fn settle() -> impl Strategy<Value = Step> {
    let child = prop::option::weighted(0.2, new());
    let wrong = prop_oneof![8 => Just(0usize), 1 => Just(1), 1 => Just(2)];
    let marks = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (0usize..8, 0usize..9, 0u64..20, child, wrong, marks).prop_map(
        |(nth, verdict, delay, child, wrong, marks)| Step::Settle {
            nth,
            verdict,
            delay,
            child,
            wrong,
            marks,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let moments =
        prop_oneof![Just(secs(1)), Just(secs(5)), Just(LEASE / 2), Just(LEASE), Just(LEASE * 3)];
    let task = prop::option::weighted(0.8, new());
    prop_oneof![
        10 => new().prop_map(Step::Enqueue),
        1 => (0usize..8).prop_map(Step::EnqueueAgain),
        10 => claim(),
        10 => settle(),
        2 => (0usize..3, 0usize..8).prop_map(|(by, nth)| Step::Renew { by, nth }),
        4 => (0usize..3, 0usize..4).prop_map(|(by, limit)| Step::Rescue { by, limit }),
        1 => (0usize..3).prop_map(Step::Promote),
        2 => (0usize..12).prop_map(Step::Cancel),
        1 => (0usize..2, any::<bool>()).prop_map(|(queue, paused)| Step::Pause(queue, paused)),
        1 => (0usize..4).prop_map(Step::Prune),
        1 => (1u64..3, any::<bool>()).prop_map(|(period, allow)| Step::Put { period, allow }),
        1 => Just(Step::Remove),
        3 => (prop::bool::weighted(0.2), 0u64..3, task)
            .prop_map(|(stale, ahead, task)| Step::Tick { stale, ahead, task }),
        6 => moments.prop_map(Step::Advance),
        1 => (1u64..100).prop_map(|back| Step::SetBack(secs(back))),
    ]
}

/// The store, the reference, and what was handed out so far.
struct Both {
    s: Setup,
    reference: Reference,
    sent: Vec<NewTask>,
    claims: Vec<Claimed>,
    tokens: [u64; 3],
    schedule: Option<ScheduleState>,
}

/// The `nth` of a list, counted from its end.
fn nth_last<T>(list: &[T], nth: usize) -> Option<&T> {
    list.len().checked_sub(1).map(|last| &list[last - nth % list.len()])
}

impl Both {
    fn new() -> Self {
        let s = Setup::with(Options { capacity: Some(CAPACITY), retention: Some(RETENTION) });
        let reference = Reference::new(s.now(), CAPACITY, RETENTION);
        for queue in QUEUES {
            s.pause(queue, false);
        }
        Both { s, reference, sent: Vec::new(), claims: Vec::new(), tokens: [0; 3], schedule: None }
    }

    fn make(&mut self, new: &New) -> NewTask {
        let mut made = task()
            .kind(KINDS[new.kind])
            .queue(QUEUES[new.queue])
            .priority(PRIORITIES[new.priority])
            .delay(secs(new.delay));
        made.key = new.key.map(|key| Key::from_static(KEYS[key]));
        self.sent.push(made.clone());
        made
    }

    /// Does the step on both, and gives the two replies as text.
    fn go(&mut self, step: &Step) -> (String, String) {
        match step {
            Step::Enqueue(new) => {
                let new = self.make(new);
                told(self.reference.enqueue(&new), self.s.offer(new))
            }
            Step::EnqueueAgain(nth) => match nth_last(&self.sent, *nth) {
                Some(new) => told(self.reference.enqueue(new), self.s.offer(new.clone())),
                None => told((), ()),
            },
            &Step::Claim { by, queues, rooms, least, room, alone, again } => {
                self.tokens[by] += u64::from(!again);
                let queues: Vec<QueueName> = (0..2)
                    .filter(|queue| queues & (1 << queue) != 0)
                    .map(|queue| QueueName::from_static(QUEUES[queue]))
                    .collect();
                let kinds = [0, 1].map(|kind| KindRoom {
                    kind: Kind::from_static(KINDS[kind]),
                    room: rooms[kind],
                });
                let min_priority = PRIORITIES.get(least).copied().unwrap_or(Priority::MIN);
                let request = ClaimRequest {
                    by: PROCESSES[by],
                    token: self.tokens[by],
                    lease: LEASE,
                    demand: Demand { queues: &queues, kinds: &kinds, min_priority, room },
                    alone,
                };
                let expected = self.reference.claim(&request);
                let claim = done(self.s.store.claim(request));
                let given: Vec<Given> = claim.tasks.iter().map(given).collect();
                self.claims.extend(claim.tasks);
                told(expected, (given, claim.suspects))
            }
            Step::Settle { nth, verdict, delay, child, wrong, marks } => {
                let Some(claimed) = nth_last(&self.claims, *nth).cloned() else {
                    return told((), ());
                };
                let delay = secs(*delay);
                let verdicts = [
                    Verdict::Succeed,
                    retry(delay),
                    fail(),
                    cancel(),
                    snooze(delay),
                    Verdict::Return { started: true },
                    Verdict::Return { started: false },
                    Verdict::Interrupt,
                    park(),
                ];
                let fence = match wrong {
                    0 => claimed.fence,
                    1 => Fence { epoch: claimed.fence.epoch + 1, ..claimed.fence },
                    _ => Fence { incarnation: Incarnation::new(0xbad), ..claimed.fence },
                };
                let settle = Settle {
                    fence,
                    ticket: claimed.ticket,
                    verdict: verdicts[*verdict].clone(),
                    children: child.iter().map(|child| self.make(child)).collect(),
                    panicked: marks.0,
                    timed_out: marks.1,
                };
                told(self.reference.settle(&settle), self.s.settle_as(settle))
            }
            Step::Renew { by, nth } => {
                let by = PROCESSES[*by];
                match nth_last(&self.claims, *nth) {
                    Some(claimed) => told(
                        self.reference.renew(by, claimed.fence, LEASE),
                        self.s.renew(by, claimed.fence),
                    ),
                    None => told((), ()),
                }
            }
            Step::Rescue { by, limit } => {
                let request = RescueRequest {
                    by: PROCESSES[*by],
                    lease: LEASE,
                    crash_budget: CRASH_BUDGET,
                    limit: *limit,
                };
                told(self.reference.rescue(&request), done(self.s.store.rescue(request)))
            }
            Step::Promote(limit) => told(self.reference.promote(*limit), self.s.promote(*limit)),
            Step::Cancel(nth) => {
                let id = nth_last(&self.sent, *nth).map_or(TaskId::from_u128(0), |new| new.id);
                let reply = done(self.s.store.cancel(&[id])).remove(0);
                told(self.reference.cancel(id), reply)
            }
            Step::Pause(queue, paused) => {
                let queue = QUEUES[*queue];
                self.s.pause(queue, *paused);
                self.reference.pause(QueueName::from_static(queue), *paused);
                told((), ())
            }
            Step::Prune(limit) => {
                told(self.reference.prune(*limit), done(self.s.store.prune(*limit)))
            }
            Step::Put { period, allow } => {
                let overlap = if *allow { Overlap::Allow } else { Overlap::Skip };
                let schedule = Schedule::every(secs(*period)).expect("above 1 ms").overlap(overlap);
                let definition = ScheduleDefinition {
                    name: Kind::from_static("work"),
                    schedule: schedule.clone(),
                };
                let state = done(self.s.store.put_schedule(definition));
                self.schedule = Some(state.clone());
                told(self.reference.put_schedule(schedule), state)
            }
            Step::Remove => {
                self.reference.remove_schedule();
                done(self.s.store.remove_schedule(&Kind::from_static("work")));
                told((), ())
            }
            Step::Tick { stale, ahead, task } => {
                let Some(state) = self.schedule.clone() else {
                    return told((), ());
                };
                let tick = Tick {
                    name: Kind::from_static("work"),
                    revision: state.revision,
                    from: state.mark,
                    to: state.mark + secs(*ahead),
                    task: task.as_ref().map(|new| self.make(new)),
                };
                let expected = self.reference.tick(&tick);
                let to = tick.to;
                let ticked = done(self.s.store.tick(vec![tick])).remove(0);
                if !stale {
                    self.schedule = Some(ScheduleState { mark: to, ..state });
                }
                told(expected, ticked)
            }
            Step::Advance(by) => {
                self.s.advance(*by);
                self.reference.now = self.s.now();
                told((), ())
            }
            Step::SetBack(by) => {
                self.s.clock.set_back(*by);
                self.reference.now = self.s.now();
                told((), ())
            }
        }
    }
}

fn told<T: std::fmt::Debug>(expected: T, reply: T) -> (String, String) {
    (format!("{expected:?}"), format!("{reply:?}"))
}

fn given(claimed: &Claimed) -> Given {
    Given {
        fence: claimed.fence,
        names: (claimed.kind.clone(), claimed.queue.clone(), claimed.key.clone()),
        priority: claimed.priority,
        payload: *claimed.payload.downcast_ref().expect("a number"),
        budgets: claimed.budgets,
    }
}

proptest! {
    #[test]
    fn the_store_does_what_the_reference_does(steps in prop::collection::vec(step(), 1..150)) {
        let mut both = Both::new();
        for step in &steps {
            let (expected, reply) = both.go(step);
            prop_assert_eq!(reply, expected, "the reply to {:?}", step);
            let (tasks, counters) = both.s.everything();
            prop_assert_eq!(tasks, both.reference.tasks(), "the tasks after {:?}", step);
            prop_assert_eq!(&counters, &both.reference.counters(), "the counters after {:?}", step);
            let total: Counts = counters.total();
            prop_assert_eq!(total.enqueued, total.live() + total.ended());
        }
    }
}
