//! Inspect: what the store knows of its tasks.

use super::MemoryStore;
use super::entry::{Entry, Record};
use super::table::Table;
use crate::id::TaskId;
use crate::state::TaskState;
use crate::store::{EndState, Filter, Page, TaskInfo};

const DEFAULT_LIMIT: usize = 100;

impl MemoryStore {
    pub(super) fn end_states(&self, ids: &[TaskId]) -> Vec<EndState> {
        let table = self.lock();
        ids.iter()
            .map(|&id| match table.find(id) {
                Some(_) => EndState::Live,
                None => match table.find_ended(id) {
                    Some(record) => EndState::Ended(record.end()),
                    None => EndState::Gone,
                },
            })
            .collect()
    }

    pub(super) fn list(&self, filter: &Filter) -> Page {
        let limit = if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit };
        let table = self.lock();
        let live =
            table.iter().map(|(_, entry)| Known { record: &entry.record, live: Some(entry) });
        let ended = table.ends.iter().map(|ended| Known { record: &ended.record, live: None });
        let mut found: Vec<Known<'_>> = live
            .chain(ended)
            .filter(|known| filter.after.is_none_or(|after| known.record.id > after))
            .filter(|known| matches(&table, known, filter))
            .collect();
        found.sort_unstable_by_key(|known| known.record.id);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|known| known.record.id);
        Page { tasks: found.into_iter().map(|known| info(&table, known)).collect(), next }
    }
}

/// A task that the store knows.
#[derive(Clone, Copy)]
struct Known<'a> {
    record: &'a Record,
    /// Unless it has ended.
    live: Option<&'a Entry>,
}

impl Known<'_> {
    fn state(&self) -> TaskState {
        self.live.map_or(TaskState::Ended, |entry| entry.state)
    }
}

fn matches(table: &Table, known: &Known<'_>, filter: &Filter) -> bool {
    let record = known.record;
    let stream = table.streams.get(record.stream);
    filter.state.is_none_or(|state| state == known.state())
        && filter.kind.as_ref().is_none_or(|kind| *kind == stream.kind)
        && filter.queue.as_ref().is_none_or(|queue| *queue == stream.queue)
        && filter.key.as_ref().is_none_or(|key| record.key.as_ref() == Some(key))
        && filter.enqueued_from.is_none_or(|from| record.id.time() >= from)
        && filter.enqueued_before.is_none_or(|before| record.id.time() < before)
        && filter.due_from.is_none_or(|from| record.place.due >= from)
        && filter.due_before.is_none_or(|before| record.place.due < before)
}

fn info(table: &Table, known: Known<'_>) -> TaskInfo {
    let (record, state) = (known.record, known.state());
    let stream = table.streams.get(record.stream);
    let ended = state == TaskState::Ended;
    TaskInfo {
        id: record.id,
        kind: stream.kind.clone(),
        queue: stream.queue.clone(),
        key: record.key.clone(),
        priority: record.priority,
        state,
        due: record.place.due,
        budgets: record.budgets(),
        epoch: record.epoch,
        holder: (state == TaskState::Active).then_some(record.holder),
        suspect: known.live.is_some_and(|entry| entry.suspect),
        note: record.extra().and_then(|extra| extra.note.clone()),
        attempts: record.extra().map_or_else(Vec::new, |extra| extra.attempts.clone()),
        ended_by: record.ended_by().filter(|_| ended),
        end: ended.then(|| record.end()),
    }
}
