//! Claim: tasks go out under a lease.

use std::collections::VecDeque;

use conveyor_core::lanes::{AGEING, Place};
use conveyor_core::store::{Budgets, Claim, ClaimRequest, Claimed, Demand};
use conveyor_core::{Fence, Kind, Priority, TaskId, TaskState};
use hashbrown::HashMap;

use crate::columns::{
    bits, budgets_from, id_from, key_from, limit, payload_from, time, timeout_from, unbits,
};
use crate::error::Result;
use crate::sql;
use crate::step::{Step, Stream};

/// How many due tasks a claim makes claimable before it looks whether that is enough. Of a herd
/// that is due at one instant and larger than this, the earliest go first, whatever their priority:
/// the price of never holding the file for as long as a herd is large.
const PROMOTED_AT_ONCE: usize = 256;

/// The most tasks that are read ahead of a lane.
const READ_AHEAD: usize = 256;

/// A process that holds claims.
struct Holder {
    alone: bool,
}

/// What a claim has room for, by the numbers of the file.
struct Room {
    kinds: HashMap<Kind, usize, foldhash::fast::RandomState>,
    /// The queues that are asked for and not paused, with what was taken from each since the last
    /// turn of the oldest.
    queues: Vec<(i64, u32)>,
    min: Priority,
}

/// The claimable tasks of one priority and one stream.
struct Lane {
    stream: Stream,
    kind: Kind,
    priority: Priority,
    /// The first of them, as far as they were read.
    ahead: VecDeque<Place>,
    /// Whether there are more than those.
    more: bool,
}

impl Step<'_> {
    pub(crate) fn claim(&mut self, request: &ClaimRequest<'_>) -> Result<Claim> {
        let by = bits(request.by.get());
        let holder =
            self.find("SELECT alone FROM conveyor_holders WHERE holder = ?1", [by], |row| {
                Ok(Holder { alone: row.get(0)? })
            })?;
        if holder.is_some() {
            self.is_alive(request.by)?;
        }
        let was_given = self.find(
            "SELECT 1 FROM conveyor_claims WHERE holder = ?1 AND token = ?2",
            (by, bits(request.token)),
            |_| Ok(()),
        )?;
        let tasks = match was_given {
            Some(()) => self.given_before(request)?,
            None => {
                let tasks = self.take_tasks(request, holder)?;
                if !tasks.is_empty() {
                    self.give(request, tasks.len())?;
                }
                tasks
            }
        };
        let suspects = self.suspects(&request.demand)?.is_some();
        Ok(Claim { tasks, suspects })
    }

    /// Notes what the request was given.
    fn give(&self, request: &ClaimRequest<'_>, tasks: usize) -> Result<()> {
        let by = bits(request.by.get());
        self.run(
            "INSERT INTO conveyor_holders (holder, held, alone) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET held = held + excluded.held, alone = excluded.alone",
            (by, limit(tasks), request.alone),
        )?;
        self.run(
            "INSERT INTO conveyor_claims (holder, token, at) VALUES (?1, ?2, ?3)",
            (by, bits(request.token), self.now.as_micros()),
        )?;
        Ok(())
    }

    /// What the request was given when it came for the first time, as far as it is held still.
    fn given_before(&mut self, request: &ClaimRequest<'_>) -> Result<Vec<Claimed>> {
        let held: Vec<(i64, Stream)> = self.all(
            "SELECT age, stream FROM conveyor_tasks WHERE state = 2 AND holder = ?1 AND token = ?2
             ORDER BY priority DESC, due, age",
            (bits(request.by.get()), bits(request.token)),
            |row| Ok((row.get(0)?, Stream(row.get(1)?))),
        )?;
        held.into_iter()
            .map(|(age, stream)| {
                let sql =
                    concat!("SELECT ", claimed_columns!(), " FROM conveyor_tasks WHERE age = ?1");
                let row = self.get(sql, [age], Row::read)?;
                self.claimed(row, stream, request)
            })
            .collect()
    }

    /// Takes what the request asks for, as far as its process may have it.
    fn take_tasks(
        &mut self,
        request: &ClaimRequest<'_>,
        holder: Option<Holder>,
    ) -> Result<Vec<Claimed>> {
        let demand = &request.demand;
        let mut tasks = Vec::new();
        if request.alone {
            if holder.is_none()
                && demand.room > 0
                && let Some((age, stream)) = self.suspects(demand)?
            {
                tasks.push(self.take(age, stream, request)?);
            }
            return Ok(tasks);
        }
        if holder.is_some_and(|holder| holder.alone) {
            return Ok(tasks);
        }
        let mut room = self.room(demand)?;
        let mut all_due = false;
        while !all_due && tasks.len() < demand.room {
            all_due = self.promote_due(PROMOTED_AT_ONCE)? < PROMOTED_AT_ONCE;
            let mut lanes = self.lanes(&room)?;
            while tasks.len() < demand.room
                && let Some((place, stream)) =
                    self.next(&mut lanes, &mut room, demand.room - tasks.len())?
            {
                tasks.push(self.take(bits(place.age), stream, request)?);
            }
        }
        if !tasks.is_empty() {
            for (queue, since_ageing) in room.queues {
                self.run(
                    "UPDATE conveyor_queues SET since_ageing = ?2
                     WHERE queue = ?1 AND since_ageing <> ?2",
                    (queue, since_ageing),
                )?;
            }
        }
        Ok(tasks)
    }

    fn room(&self, demand: &Demand<'_>) -> Result<Room> {
        let kinds = demand.kinds.iter().map(|wanted| (wanted.kind.clone(), wanted.room)).collect();
        let mut queues = Vec::new();
        for queue in demand.queues {
            let known: Option<(i64, u32)> = self.find(
                "SELECT queue, since_ageing FROM conveyor_queues WHERE name = ?1 AND paused = 0",
                [queue.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            queues
                .extend(known.filter(|(queue, _)| !queues.iter().any(|(known, _)| known == queue)));
        }
        Ok(Room { kinds, queues, min: demand.min_priority })
    }

    /// The lanes that may have something for this claim.
    fn lanes(&mut self, room: &Room) -> Result<Vec<Lane>> {
        if room.queues.is_empty() {
            return Ok(Vec::new());
        }
        self.write_counts()?;
        let streams: Vec<(Stream, i64)> =
            self.all("SELECT stream, queue FROM conveyor_streams WHERE queued > 0", (), |row| {
                Ok((Stream(row.get(0)?), row.get(1)?))
            })?;
        let mut lanes = Vec::new();
        for (stream, queue) in streams {
            if !room.queues.iter().any(|&(asked, _)| asked == queue) {
                continue;
            }
            let (_, kind) = self.names_of(stream)?;
            if room.kinds.get(&kind).is_none_or(|&room| room == 0) {
                continue;
            }
            let mut below = i64::from(i16::MAX) + 1;
            while let Some(level) = self.highest_below(stream, below)? {
                below = i64::from(level);
                let priority = Priority::new(level);
                if priority < room.min {
                    break;
                }
                let (kind, ahead) = (kind.clone(), VecDeque::new());
                lanes.push(Lane { stream, kind, priority, ahead, more: true });
            }
        }
        Ok(lanes)
    }

    fn highest_below(&self, stream: Stream, below: i64) -> Result<Option<i16>> {
        self.get(
            "SELECT max(priority) FROM conveyor_tasks
             WHERE state = 1 AND suspect = 0 AND stream = ?1 AND priority < ?2",
            (stream.0, below),
            |row| row.get(0),
        )
    }

    /// The task that is next: by priority, then place; or by place alone, if it is the turn of the
    /// oldest.
    fn next(
        &self,
        lanes: &mut Vec<Lane>,
        room: &mut Room,
        wanted: usize,
    ) -> Result<Option<(Place, Stream)>> {
        lanes.retain(|lane| room.kinds.get(&lane.kind).is_some_and(|&room| room > 0));
        // A reserved consumer is there for urgent tasks alone.
        let takes_part = room.min == Priority::MIN;
        let ageing = takes_part && room.queues.iter().any(|&(_, since)| since + 1 >= AGEING);
        let mut best: Option<(Priority, Place, usize)> = None;
        for (at, lane) in lanes.iter_mut().enumerate() {
            let Some(place) = self.first(lane, wanted)? else {
                continue;
            };
            let is_better = best.is_none_or(|(priority, least, _)| {
                if ageing || lane.priority == priority {
                    place < least
                } else {
                    lane.priority > priority
                }
            });
            if is_better {
                best = Some((lane.priority, place, at));
            }
        }
        let Some((_, place, at)) = best else {
            return Ok(None);
        };
        let lane = &mut lanes[at];
        lane.ahead.pop_front();
        if let Some(left) = room.kinds.get_mut(&lane.kind) {
            *left -= 1;
        }
        if takes_part {
            for (_, since) in &mut room.queues {
                *since = if ageing { 0 } else { *since + 1 };
            }
        }
        Ok(Some((place, lane.stream)))
    }

    /// The first task of a lane, which is read ahead of.
    fn first(&self, lane: &mut Lane, wanted: usize) -> Result<Option<Place>> {
        if lane.ahead.is_empty() && lane.more {
            let most = wanted.min(READ_AHEAD);
            // What was taken from here is active by now.
            lane.ahead = self
                .all(
                    "SELECT due, age FROM conveyor_tasks
                     WHERE state = 1 AND suspect = 0 AND stream = ?1 AND priority = ?2
                     ORDER BY due, age LIMIT ?3",
                    (lane.stream.0, lane.priority.get(), limit(most)),
                    |row| Ok(Place { due: time(row.get(0)?), age: unbits(row.get(1)?) }),
                )?
                .into();
            lane.more = lane.ahead.len() == most;
        }
        Ok(lane.ahead.front().copied())
    }

    /// The first suspect that there would be room for.
    fn suspects(&mut self, demand: &Demand<'_>) -> Result<Option<(i64, Stream)>> {
        let waiting: Vec<(i64, Stream)> = self.all(
            "SELECT age, stream FROM conveyor_tasks
             WHERE state = 1 AND suspect = 1 AND priority >= ?1 ORDER BY priority DESC, due, age",
            [demand.min_priority.get()],
            |row| Ok((row.get(0)?, Stream(row.get(1)?))),
        )?;
        for (age, stream) in waiting {
            let (queue, kind) = self.names_of(stream)?;
            // The last word on a kind counts, as everywhere.
            let room = demand.kinds.iter().rev().find(|wanted| wanted.kind == kind);
            let is_wanted = room.is_some_and(|wanted| wanted.room > 0)
                && demand.queues.contains(&queue)
                && !self.is_paused(queue.as_str())?;
            if is_wanted {
                return Ok(Some((age, stream)));
            }
        }
        Ok(None)
    }

    fn is_paused(&self, queue: &str) -> Result<bool> {
        self.get("SELECT paused FROM conveyor_queues WHERE name = ?1", [queue], |row| row.get(0))
    }

    /// Gives a task out under a lease.
    fn take(&mut self, age: i64, stream: Stream, request: &ClaimRequest<'_>) -> Result<Claimed> {
        let lease_ends = self.now + request.lease;
        let row = self.get(
            concat!(
                "UPDATE conveyor_tasks SET state = 2, epoch = epoch + 1, holder = ?2, token = ?3,
                     lease_ends = ?4, interrupted = 0 WHERE age = ?1 RETURNING ",
                claimed_columns!()
            ),
            (age, bits(request.by.get()), bits(request.token), lease_ends.as_micros()),
            Row::read,
        )?;
        self.count_move(stream, TaskState::Queued, TaskState::Active);
        self.claimed(row, stream, request)
    }

    /// What the holder of an active task gets.
    fn claimed(&mut self, row: Row, stream: Stream, request: &ClaimRequest<'_>) -> Result<Claimed> {
        let (queue, kind) = self.names_of(stream)?;
        let payload = self.get(
            "SELECT codec, bytes FROM conveyor_payloads WHERE age = ?1",
            [row.age],
            |row| Ok(payload_from(&row.get::<String>(0)?, row.get(1)?)),
        )?;
        Ok(Claimed {
            fence: Fence { task: row.id, epoch: row.epoch, incarnation: request.by },
            ticket: unbits(row.age),
            kind,
            queue,
            key: key_from(row.key)?,
            priority: row.priority,
            payload,
            timeout: row.timeout.map(timeout_from).transpose()?,
            retries: row.retries,
            budgets: row.budgets,
            cancel: row.cancel,
        })
    }
}

/// What a claim reads of a task's row.
struct Row {
    age: i64,
    id: TaskId,
    epoch: u64,
    key: Option<String>,
    priority: Priority,
    timeout: Option<[u8; 12]>,
    retries: Option<u32>,
    budgets: Budgets,
    cancel: bool,
}

macro_rules! claimed_columns {
    () => {
        "age, id, epoch, key, priority, timeout, retries, errors, crashes, interruptions, snoozes, \
         cancel"
    };
}
use claimed_columns;

impl Row {
    fn read(row: &sql::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row {
            age: row.get(0)?,
            id: id_from(row.get(1)?),
            epoch: unbits(row.get(2)?),
            key: row.get(3)?,
            priority: Priority::new(row.get(4)?),
            timeout: row.get(5)?,
            retries: row.get(6)?,
            budgets: budgets_from(row, 7)?,
            cancel: row.get(11)?,
        })
    }
}
