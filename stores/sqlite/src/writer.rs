//! The writer: the one thread of a process that changes the file.
//!
//! Calls that come while a transaction is under way are taken together by the next: many calls cost
//! one wait for the disk. Nothing here knows a runtime, so a store works on any of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use conveyor_core::Timestamp;
use rusqlite::Connection;

use crate::connect;
use crate::error::{Failure, Result};
use crate::look::Looked;
use crate::migrate;
use crate::options::SqliteOptions;
use crate::queue::{Job, Queue, Taken, Write};
use crate::sql::Sql;
use crate::step::{Limits, Names, Step};
use crate::wake::{After, Sinks};
use crate::watch::{self, Watch};

/// The most calls in a transaction.
const TOGETHER: usize = 256;

/// What the thread has.
pub(crate) struct Writer {
    options: SqliteOptions,
    queue: Arc<Queue<Write>>,
    sinks: Arc<Sinks>,
    open: Option<Open>,
    /// Which file it was when it was opened.
    identity: Option<(u64, u64)>,
    looked: Looked,
}

/// An open file.
struct Open {
    sql: Connection,
    names: Names,
    /// Its log is another one each time that it is opened after nobody had it.
    _watch: Option<Watch>,
}

impl Open {
    fn new(sql: Connection, options: &SqliteOptions, queue: &Arc<Queue<Write>>) -> Self {
        Open { sql, names: Names::default(), _watch: watch::watch(&options.path, queue) }
    }
}

impl Writer {
    /// Opens the file, and makes its tables.
    pub(crate) fn new(
        options: SqliteOptions,
        queue: Arc<Queue<Write>>,
        sinks: Arc<Sinks>,
    ) -> Result<Self> {
        migrate::check_sqlite()?;
        let mut sql = connect::to_write(&options, true)?;
        connect::until_free(|| migrate::migrate(&mut sql))?;
        let identity = connect::identity(&options.path);
        let looked = Looked::default();
        let open = Some(Open::new(sql, &options, &queue));
        Ok(Writer { options, queue, sinks, open, identity, looked })
    }

    /// Serves calls until the store is closed.
    pub(crate) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        while let Some(Taken { mut jobs, look }) = queue.take(TOGETHER) {
            jobs.retain(|job| job.is_wanted());
            if !jobs.is_empty() {
                // What our own code did wrong must not end the thread that all calls need.
                let done = catch_unwind(AssertUnwindSafe(|| self.transact(&mut jobs)));
                let failure = match done {
                    Ok(Ok(())) => None,
                    Ok(Err(failure)) => Some(failure),
                    Err(_) => Some(Failure::Broken),
                };
                if let Some(failure) = failure {
                    self.give_up(&failure);
                    let error = failure.to_store_error();
                    jobs.iter_mut().for_each(|job| job.fail(error.clone()));
                }
                jobs.into_iter().for_each(Job::reply);
            }
            if look && !self.sinks.is_empty() && !self.look() {
                queue.looked_in_vain();
            }
        }
    }

    /// Makes calls in one transaction. An error is everybody's: then nothing happened.
    fn transact(&mut self, jobs: &mut [Box<Write>]) -> Result<()> {
        self.be_open()?;
        let Writer { options, sinks, open, .. } = self;
        let Some(Open { sql, names, .. }) = open else {
            return Err(Failure::Gone("the file is not open".to_owned()));
        };
        begin(sql, || jobs.iter().any(|job| job.is_wanted()))?;
        let limits = options.limits();
        let watched = sinks.watch_ends();
        let alone = jobs.len() == 1;
        let mut done = Vec::with_capacity(jobs.len());
        for job in jobs {
            // Asked under the lock, so that the order of times is that of transactions.
            let now = options.clock.wall();
            if !alone {
                sql.prepare_cached("SAVEPOINT call")?.execute(())?;
            }
            match make_call(&mut **job, sql, names, limits, now, watched) {
                Ok(after) => done.push(after),
                Err(failure) if alone || failure.is_everybodys() || sql.is_autocommit() => {
                    return Err(failure);
                }
                Err(failure) => {
                    job.fail(failure.to_store_error());
                    names.forget();
                    sql.prepare_cached("ROLLBACK TO call")?.execute(())?;
                }
            }
            if !alone {
                sql.prepare_cached("RELEASE call")?.execute(())?;
            }
        }
        sql.prepare_cached("COMMIT")?.execute(())?;
        done.iter().for_each(|after| sinks.tell(after));
        Ok(())
    }

    /// Sees to it that there is a connection, to the file that was opened.
    fn be_open(&mut self) -> Result<()> {
        let path = &self.options.path;
        if connect::identity(path).is_none_or(|found| Some(found) != self.identity) {
            self.open = None;
            let found = connect::identity(path).ok_or_else(|| {
                Failure::Gone(format!("the file {} is not there any more", path.display()))
            })?;
            self.identity = Some(found);
        }
        if self.open.is_none() {
            let mut sql = connect::to_write(&self.options, false)?;
            migrate::migrate(&mut sql)?;
            self.open = Some(Open::new(sql, &self.options, &self.queue));
            self.looked = Looked::default();
            tracing::info!(path = %self.options.path.display(), "opened the file again");
        }
        Ok(())
    }

    /// Undoes what a transaction did that failed.
    fn give_up(&mut self, failure: &Failure) {
        let Some(Open { sql, names, .. }) = &mut self.open else {
            return;
        };
        names.forget();
        let undone = sql.is_autocommit() || sql.execute_batch("ROLLBACK").is_ok();
        if !undone || failure.spoils_connection() {
            self.open = None;
        }
    }

    /// Tells of what others changed; `false` if there is nothing new.
    fn look(&mut self) -> bool {
        let Some(Open { sql, names, .. }) = &mut self.open else {
            return false;
        };
        let (now, watched) = (self.options.clock.wall(), self.sinks.watch_ends());
        let mut step = Step::new(Sql::Own(sql), names, self.options.limits(), now, watched);
        match self.looked.look(&mut step) {
            Ok(news) => {
                if news {
                    self.sinks.tell(&step.after);
                }
                news
            }
            // It was a hint; the engine asks by itself too.
            Err(failure) => {
                tracing::debug!(%failure, "could not look what others changed");
                false
            }
        }
    }
}

fn make_call(
    job: &mut Write,
    sql: &Connection,
    names: &mut Names,
    limits: Limits,
    now: Timestamp,
    watched: bool,
) -> Result<After> {
    let mut step = Step::new(Sql::Own(sql), names, limits, now, watched);
    job.run(&mut step)?;
    step.finish()
}

/// Begins a transaction, as soon as no other process has one; gives up if nobody waits for it.
fn begin(sql: &Connection, is_wanted: impl Fn() -> bool) -> Result<()> {
    loop {
        let begun = sql.prepare_cached("BEGIN IMMEDIATE")?.execute(());
        match begun.map_err(Failure::from) {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_busy() && is_wanted() => {
                tracing::warn!("another process has a transaction open on the file; waiting");
            }
            Err(failure) => return Err(failure),
        }
    }
}
