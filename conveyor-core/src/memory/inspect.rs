//! Inspect: what the store knows of its tasks.

use super::MemoryStore;
use super::table::{Entry, Table};
use crate::id::TaskId;
use crate::state::TaskState;
use crate::store::{EndState, Filter, Page, TaskInfo};

const DEFAULT_LIMIT: usize = 100;

impl MemoryStore {
    pub(super) fn end_states(&self, ids: &[TaskId]) -> Vec<EndState> {
        let table = self.lock();
        ids.iter()
            .map(|&id| match table.find(id).map(|task| table.get(task)) {
                None => EndState::Gone,
                Some(entry) if entry.state.is_live() => EndState::Live,
                Some(entry) => EndState::Ended(entry.end()),
            })
            .collect()
    }

    pub(super) fn list(&self, filter: &Filter) -> Page {
        let limit = if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit };
        let table = self.lock();
        let mut found: Vec<&Entry> = table
            .iter()
            .map(|(_, entry)| entry)
            .filter(|entry| filter.after.is_none_or(|after| entry.id > after))
            .filter(|entry| matches(&table, entry, filter))
            .collect();
        found.sort_unstable_by_key(|entry| entry.id);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|entry| entry.id);
        Page { tasks: found.into_iter().map(|entry| info(&table, entry)).collect(), next }
    }
}

fn matches(table: &Table, entry: &Entry, filter: &Filter) -> bool {
    let stream = table.streams.get(entry.stream);
    filter.state.is_none_or(|state| state == entry.state)
        && filter.kind.as_ref().is_none_or(|kind| *kind == stream.kind)
        && filter.queue.as_ref().is_none_or(|queue| *queue == stream.queue)
        && filter.key.as_ref().is_none_or(|key| entry.key.as_ref() == Some(key))
        && filter.enqueued_from.is_none_or(|from| entry.id.time() >= from)
        && filter.enqueued_before.is_none_or(|before| entry.id.time() < before)
        && filter.due_from.is_none_or(|from| entry.place.due >= from)
        && filter.due_before.is_none_or(|before| entry.place.due < before)
}

fn info(table: &Table, entry: &Entry) -> TaskInfo {
    let stream = table.streams.get(entry.stream);
    let ended = entry.state == TaskState::Ended;
    TaskInfo {
        id: entry.id,
        kind: stream.kind.clone(),
        queue: stream.queue.clone(),
        key: entry.key.clone(),
        priority: entry.priority,
        state: entry.state,
        due: entry.place.due,
        budgets: entry.budgets(),
        epoch: entry.epoch,
        holder: (entry.state == TaskState::Active).then_some(entry.holder),
        suspect: entry.suspect,
        note: entry.extra().and_then(|extra| extra.note.clone()),
        attempts: entry.extra().map_or_else(Vec::new, |extra| extra.attempts.clone()),
        ended_by: entry.ended_by().filter(|_| ended),
        end: ended.then(|| entry.end()),
    }
}
