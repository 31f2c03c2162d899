//! Lanes: a queue's tasks of one kind and priority. Names become numbers here, once in a process.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use conveyor_core::store::{NewTask, StoreResult};
use conveyor_core::{Kind, Priority, QueueName};
use sqlx::Row;

use crate::convert;
use crate::error::{incompatible, told};
use crate::worker::Worker;

/// The numbers of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) id: i64,
    pub(crate) kind_id: i64,
}

/// The names of a lane.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) queue: QueueName,
    pub(crate) kind: Kind,
    pub(crate) priority: Priority,
}

/// The lanes that this process has seen.
#[derive(Default)]
pub(crate) struct Lanes {
    by_names: RefCell<HashMap<(QueueName, Kind, Priority), Lane>>,
    by_id: RefCell<HashMap<i64, Rc<Names>>>,
    /// How many connections had been lost when these were seen.
    lost: Cell<u64>,
}

impl Worker {
    /// The lane of each task. New ones are written down at once, in a transaction of their own.
    pub(crate) async fn lanes_of(&self, tasks: &[NewTask]) -> StoreResult<Vec<Lane>> {
        // A server that came back after a crash need not remember the lane that was new.
        if self.lanes.lost.replace(self.connections.lost()) != self.connections.lost() {
            self.lanes.by_names.borrow_mut().clear();
        }
        let mut lanes = Vec::with_capacity(tasks.len());
        for task in tasks {
            let names = (task.queue.clone(), task.kind.clone(), task.priority);
            let known = self.lanes.by_names.borrow().get(&names).copied();
            let lane = match known {
                Some(lane) => lane,
                None => self.find_or_make_lane(names).await?,
            };
            lanes.push(lane);
        }
        Ok(lanes)
    }

    async fn find_or_make_lane(&self, names: (QueueName, Kind, Priority)) -> StoreResult<Lane> {
        let (queue, kind, priority) = &names;
        let lane = self
            .connections
            .call(async |connection| {
                let row = self
                    .sql
                    .query("select id, kind_id from conveyor.lane_1($1, $2, $3)")
                    .bind(queue.as_str())
                    .bind(kind.as_str())
                    .bind(priority.get())
                    .fetch_one(connection)
                    .await?;
                Ok(Lane { id: row.try_get(0)?, kind_id: row.try_get(1)? })
            })
            .await?;
        self.lanes.by_names.borrow_mut().insert(names, lane);
        Ok(lane)
    }

    /// What the lanes of these numbers are called.
    pub(crate) async fn names_of(&self, ids: &[i64]) -> StoreResult<Vec<Rc<Names>>> {
        let unknown: Vec<i64> = {
            let known = self.lanes.by_id.borrow();
            ids.iter().filter(|id| !known.contains_key(id)).copied().collect()
        };
        if !unknown.is_empty() {
            let rows = self
                .connections
                .call(async |connection| {
                    self.sql
                        .query(
                            "select distinct id, queue, kind, priority from conveyor.lane \
                         where id = any($1)",
                        )
                        .bind(&unknown)
                        .fetch_all(connection)
                        .await
                })
                .await?;
            for row in rows {
                let names = Names {
                    queue: convert::queue(row.try_get(1).map_err(told)?)?,
                    kind: convert::kind(row.try_get(2).map_err(told)?)?,
                    priority: Priority::new(row.try_get(3).map_err(told)?),
                };
                let id = row.try_get(0).map_err(told)?;
                self.lanes.by_id.borrow_mut().insert(id, Rc::new(names));
            }
        }
        let known = self.lanes.by_id.borrow();
        ids.iter()
            .map(|id| {
                let names = known.get(id).cloned();
                names.ok_or_else(|| incompatible(format!("nobody wrote down what lane {id} is")))
            })
            .collect()
    }
}
