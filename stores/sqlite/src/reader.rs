//! The reader: a thread with a connection that only reads, so that a long list holds up nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

use crate::connect;
use crate::error::{Failure, Result};
use crate::queue::{Queue, Read};

pub(crate) struct Reader {
    path: PathBuf,
    queue: Arc<Queue<Read>>,
    open: Option<Connection>,
    identity: Option<(u64, u64)>,
}

impl Reader {
    pub(crate) fn new(path: PathBuf, queue: Arc<Queue<Read>>) -> Self {
        Reader { path, queue, open: None, identity: None }
    }

    /// Serves calls until the store is closed.
    pub(crate) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        while let Some(taken) = queue.take(1) {
            for mut job in taken.jobs.into_iter().filter(|job| job.is_wanted()) {
                let done = catch_unwind(AssertUnwindSafe(|| self.read(&mut *job)));
                if let Err(failure) = done.unwrap_or(Err(Failure::Broken)) {
                    self.open = None;
                    job.fail(failure.to_store_error());
                }
                job.reply();
            }
        }
    }

    fn read(&mut self, job: &mut Read) -> Result<()> {
        let found = connect::identity(&self.path);
        if found.is_none() {
            let gone = format!("the file {} is not there any more", self.path.display());
            return Err(Failure::Gone(gone));
        }
        if found != self.identity {
            self.open = None;
            self.identity = found;
        }
        let sql = match &mut self.open {
            Some(sql) => sql,
            closed => closed.insert(connect::to_read(&self.path)?),
        };
        // One transaction, so that a call sees the file as it was at one instant.
        connect::until_free(|| Ok(sql.prepare_cached("BEGIN")?.execute(())?))?;
        // The snapshot is taken by the first statement, which another's recovery may hold up.
        let first = "SELECT 1 FROM conveyor_meta";
        connect::until_free(|| Ok(sql.prepare_cached(first)?.query_row((), |_| Ok(()))?))?;
        let done = job.run(sql);
        sql.prepare_cached("COMMIT")?.execute(())?;
        done
    }
}
