//! Makes the calls of a sequence, and holds each reply against the reference.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use conveyor_core::store::{
    ClaimRequest, Claimed, Demand, KindRoom, NewTask, RescueRequest, ScheduleDefinition,
    ScheduleState, Settle, Tick, Verdict,
};
use conveyor_core::worker::panic_text;
use conveyor_core::{
    Fence, Incarnation, Key, Kind, Overlap, Priority, QueueName, Retention, Schedule, TaskId,
};

use super::reference::{Held, Reference};
use super::step::{Ask, Choice, New, Offer, Proof, Report, Step};
use crate::store_suite::harness::StoreOptions;
use crate::store_suite::run::Suite;
use crate::store_suite::setup::{A, B, C, LEASE, MANY, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{
    cancel, fail, give_back, hand_back, park, retry_after, settle, snooze_for,
};

const PROCESSES: [Incarnation; 3] = [A, B, C];
const KINDS: [&str; 2] = ["work", "play"];
const QUEUES: [&str; 2] = ["q", "x"];
const KEYS: [&str; 2] = ["k", "l"];
const PRIORITIES: [Priority; 3] = [Priority::LOW, Priority::NORMAL, Priority::HIGH];
const CRASH_BUDGET: u32 = 2;
const SCHEDULE: Kind = Kind::from_static("work");

/// A few ends, for a few ticks; half a tick more, so that none is just that old.
pub(super) fn retention(suite: &Suite) -> Retention {
    let tick = suite.harness().tick();
    Retention { count: 6, age: tick * 30 + tick / 2 }
}

/// Makes the calls on a new store.
///
/// # Errors
/// Where the store and the reference differ, or the store fails.
pub(super) fn run(suite: &Suite, options: StoreOptions, steps: &[Step]) -> Held {
    let calls = || {
        let mut both = Both::new(suite, options);
        for step in steps {
            both.make(step).map_err(|why| format!("{why}, at {step:?}"))?;
        }
        Ok(())
    };
    let told = catch_unwind(AssertUnwindSafe(calls));
    told.unwrap_or_else(|panic| Err(panic_text(&*panic).to_owned()))
}

/// The store, the reference, and what was handed out so far.
struct Both {
    s: Setup,
    reference: Reference,
    sent: Vec<NewTask>,
    claims: Vec<Claimed>,
    token: u64,
    given: Option<(Ask, u64)>,
    schedule: Option<ScheduleState>,
}

/// The `nth` of a list, counted from its end.
fn nth_last<T>(list: &[T], nth: usize) -> Option<&T> {
    list.len().checked_sub(1).map(|last| &list[last - nth % list.len()])
}

impl Both {
    fn new(suite: &Suite, options: StoreOptions) -> Self {
        let s = suite.open_with(options);
        let retention = options.retention.unwrap_or_default();
        let reference = Reference::new(s.now(), s.ticks(1), options.capacity, retention);
        let (sent, claims) = (Vec::new(), Vec::new());
        Both { s, reference, sent, claims, token: 0, given: None, schedule: None }
    }

    fn make(&mut self, step: &Step) -> Held {
        self.reference.now = self.s.now();
        self.call(step)?;
        self.reference.now = self.s.now();
        let (tasks, counters) = self.s.everything();
        self.reference.compare(&tasks)?;
        self.reference.compare_counters(&counters)?;
        let expected: Vec<QueueName> = self.reference.paused.iter().cloned().collect();
        super::reference::same("the paused queues", &self.s.paused(), &expected)?;
        if matches!(step, Step::Prune(_)) {
            self.reference.is_pruned()?;
        }
        for new in self.sent.iter().rev().take(3) {
            let (told, expected) = (self.s.end(new.id), self.reference.end_state(new.id));
            super::reference::same("an end", &told, &expected)?;
        }
        Ok(())
    }

    fn call(&mut self, step: &Step) -> Held {
        let Both { s, reference, .. } = self;
        match step {
            Step::Enqueue(offers) => {
                let batch: Vec<NewTask> =
                    offers.iter().filter_map(|offer| self.offered(offer)).collect();
                let told = self.s.offer_all(batch.clone());
                let mut replies = batch.iter().zip(&told);
                replies.try_for_each(|(new, told)| self.reference.enqueue(new, told))
            }
            Step::Claim(ask) => {
                self.token += 1;
                self.claim(ask, self.token)
            }
            Step::ClaimAgain => match self.given.clone() {
                // Of one that holds nothing any more, nobody need know.
                Some((ask, token)) if self.reference.holds_of(PROCESSES[ask.by], token) => {
                    self.claim(&ask, token)
                }
                _ => Ok(()),
            },
            Step::Settle(reports) => {
                let batch: Vec<Settle> =
                    reports.iter().filter_map(|report| self.reported(report)).collect();
                let told = self.s.settle_all(batch.clone());
                let mut replies = batch.iter().zip(told);
                replies.try_for_each(|(settle, told)| self.reference.settle(settle, told))
            }
            Step::Renew { by, claims } => {
                let (by, lease) = (PROCESSES[*by], s.lease());
                let claims = claims.iter().filter_map(|nth| nth_last(&self.claims, *nth));
                let fences: Vec<Fence> = claims.map(|claimed| claimed.fence).collect();
                let told = s.renew_all(by, &fences);
                let mut replies = fences.iter().zip(told);
                replies.try_for_each(|(fence, told)| reference.renew(by, *fence, lease, told))
            }
            Step::Rescue { by, limit } => {
                let (by, lease) = (PROCESSES[*by], s.lease());
                let limit = if *limit == 0 { MANY } else { *limit };
                let request = RescueRequest { by, lease, crash_budget: CRASH_BUDGET, limit };
                let told = s.done(s.store.rescue(request));
                reference.rescue(&request, &told)
            }
            Step::Watch { by, halves } => {
                let (by, lease) = (PROCESSES[*by], s.lease());
                let request = RescueRequest { by, lease, crash_budget: CRASH_BUDGET, limit: MANY };
                for _ in 0..*halves {
                    s.advance(LEASE / 2);
                    reference.now = s.now();
                    reference.rescue(&request, &s.done(s.store.rescue(request)))?;
                }
                Ok(())
            }
            Step::Promote(limit) => {
                let limit = if *limit == 0 { MANY } else { *limit };
                reference.promote(limit, s.done(s.store.promote(limit)))
            }
            Step::Cancel(tasks) => {
                let id = |nth: &usize| nth_last(&self.sent, *nth).map(|new| new.id);
                let ids = tasks.iter().map(|nth| id(nth).unwrap_or(TaskId::from_u128(1)));
                let ids: Vec<TaskId> = ids.collect();
                let told = s.cancel_all(&ids);
                ids.iter().zip(told).try_for_each(|(id, told)| reference.cancel(*id, told))
            }
            Step::Pause(queue, paused) => {
                s.pause(QUEUES[*queue], *paused);
                reference.pause(QueueName::from_static(QUEUES[*queue]), *paused);
                Ok(())
            }
            Step::Prune(limit) => {
                if *limit > 0 {
                    s.done(s.store.prune(*limit));
                }
                s.done(s.store.prune(MANY));
                Ok(())
            }
            Step::PutSchedule { period, allow } => {
                let overlap = if *allow { Overlap::Allow } else { Overlap::Skip };
                let schedule = Schedule::every(Duration::from_secs(*period)).expect("above 1 ms");
                let schedule = schedule.overlap(overlap);
                let definition = ScheduleDefinition { name: SCHEDULE, schedule: schedule.clone() };
                let told = s.done(s.store.put_schedule(definition));
                self.schedule = Some(told.clone());
                reference.put_schedule(schedule, &told)
            }
            Step::RemoveSchedule => {
                s.done(s.store.remove_schedule(&SCHEDULE));
                reference.remove_schedule();
                Ok(())
            }
            Step::Tick { stale, ahead, task } => {
                let Some(state) = self.schedule.clone() else {
                    return Ok(());
                };
                let tick = Tick {
                    name: SCHEDULE,
                    revision: state.revision,
                    from: state.mark,
                    to: state.mark + s.ticks(*ahead),
                    task: task.as_ref().map(|new| self.new_task(new)),
                };
                if !stale {
                    self.schedule = Some(ScheduleState { mark: tick.to, ..state });
                }
                let told = self.s.done(self.s.store.tick(vec![tick.clone()])).remove(0);
                self.reference.tick(&tick, &told)
            }
            Step::Advance(ticks) => {
                s.advance(*ticks);
                Ok(())
            }
        }
    }

    fn offered(&mut self, offer: &Offer) -> Option<NewTask> {
        match offer {
            Offer::New(new) => Some(self.new_task(new)),
            Offer::Again(nth) => nth_last(&self.sent, *nth).cloned(),
        }
    }

    fn reported(&mut self, report: &Report) -> Option<Settle> {
        let claimed = nth_last(&self.claims, report.claim)?.clone();
        let mut settle = settle(&claimed, self.verdict(report.verdict));
        match report.fence {
            Proof::Right => {}
            Proof::WrongEpoch => settle.fence.epoch += 1,
            Proof::WrongProcess => settle.fence.incarnation = Incarnation::new(0xbad),
        }
        settle.children = report.child.iter().map(|child| self.new_task(child)).collect();
        (settle.panicked, settle.timed_out) = (report.panicked, report.timed_out);
        Some(settle)
    }

    fn new_task(&mut self, new: &New) -> NewTask {
        let mut made = task()
            .kind(KINDS[new.kind])
            .queue(QUEUES[new.queue])
            .priority(PRIORITIES[new.priority])
            .delay(self.s.ticks(new.delay));
        made.key = new.key.map(|key| Key::from_static(KEYS[key]));
        self.sent.push(made.clone());
        made
    }

    fn verdict(&self, choice: Choice) -> Verdict {
        match choice {
            Choice::Succeed => Verdict::Succeed,
            Choice::Retry(ticks) => retry_after(self.s.ticks(ticks)),
            Choice::Fail => fail(),
            Choice::Cancel => cancel(),
            Choice::Snooze(ticks) => snooze_for(self.s.ticks(ticks)),
            Choice::HandBack => hand_back(),
            Choice::GiveBack => give_back(),
            Choice::Interrupt => Verdict::Interrupt,
            Choice::Park => park(),
        }
    }

    fn claim(&mut self, ask: &Ask, token: u64) -> Held {
        let queues: Vec<QueueName> = (0..QUEUES.len())
            .filter(|queue| ask.queues & (1 << queue) != 0)
            .map(|queue| QueueName::from_static(QUEUES[queue]))
            .collect();
        let kinds = [0, 1]
            .map(|kind| KindRoom { kind: Kind::from_static(KINDS[kind]), room: ask.rooms[kind] });
        let min_priority = PRIORITIES.get(ask.least).copied().unwrap_or(Priority::MIN);
        let demand = Demand { queues: &queues, kinds: &kinds, min_priority, room: ask.room };
        let (by, lease) = (PROCESSES[ask.by], self.s.lease());
        let request = ClaimRequest { by, token, lease, demand, alone: ask.alone };
        let told = self.s.done(self.s.store.claim(request));
        if !told.tasks.is_empty() {
            self.given = Some((ask.clone(), token));
        }
        self.claims.extend(told.tasks.iter().cloned());
        self.reference.claim(&request, &told)
    }
}
