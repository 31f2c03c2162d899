//! The tables, and how they come to be as this version needs them.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::error::{Failure, Result};
use crate::plant::sown;

/// The steps to the current version, each a file; what was released is never changed. Forward only.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_tables.sql")];

/// The version of the tables that this program makes.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("invariant: there are few migrations")
}

/// The oldest SQLite that does not lose commits in WAL mode.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Refuses a SQLite that can lose what it committed.
pub(crate) fn check_sqlite() -> Result<()> {
    check_sqlite_version(rusqlite::version_number(), rusqlite::version())
}

fn check_sqlite_version(number: i32, name: &str) -> Result<()> {
    if number >= OLDEST_SQLITE {
        return Ok(());
    }
    Err(Failure::Unreadable(format!(
        "SQLite {name} is linked, but versions before 3.51.3 can lose commits in WAL mode; build \
         with rusqlite's feature `bundled`, or against a newer library"
    )))
}

/// Makes the tables what this version needs, in one transaction: several processes may try at once.
pub(crate) fn migrate(sql: &mut Connection) -> Result<()> {
    let step = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (version, usable_from) = version(&step)?.unwrap_or((0, 0));
    check(version, usable_from)?;
    for (migration, number) in MIGRATIONS.iter().zip(1..) {
        if number > version {
            step.execute_batch(sown(migration))?;
        }
    }
    if version < newest() {
        step.execute("UPDATE conveyor_meta SET version = ?1", [newest()])?;
    }
    Ok(step.commit()?)
}

/// Refuses tables that became unusable since the file was opened: another process may have made
/// them what a newer version needs, and no older one any more.
pub(crate) fn check_still_usable(sql: &Connection) -> Result<()> {
    let mut versions = sql.prepare_cached(VERSIONS)?;
    let (version, usable_from) = versions.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    check(version, usable_from)
}

pub(crate) fn check(version: i64, usable_from: i64) -> Result<()> {
    if usable_from <= newest() {
        return Ok(());
    }
    Err(Failure::Unreadable(format!(
        "the tables in the file are of version {version}, which only programs that know version \
         {usable_from} can use; this one knows version {}: update it",
        newest()
    )))
}

pub(crate) const VERSIONS: &str = "SELECT version, usable_from FROM conveyor_meta";

/// The version of the tables, and the oldest that a program may know; `None` if there are none.
fn version(sql: &Connection) -> Result<Option<(i64, i64)>> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'conveyor_meta'";
    if sql.query_row(table, (), |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    Ok(sql.query_row(VERSIONS, (), |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_sqlite_is_refused_with_the_reason_and_the_way_out() {
        let refused = check_sqlite_version(3_051_002, "3.51.2").unwrap_err().to_string();
        assert!(refused.contains("3.51.2") && refused.contains("lose commits"), "{refused}");
        assert!(refused.contains("bundled"), "{refused}");
        check_sqlite_version(3_051_003, "3.51.3").unwrap();
        check_sqlite().unwrap();
    }

    #[test]
    fn newer_tables_are_used_if_they_say_so_and_else_refused_with_both_versions() {
        let mut sql = Connection::open_in_memory().unwrap();
        migrate(&mut sql).unwrap();
        sql.execute("UPDATE conveyor_meta SET version = 7, usable_from = 1", ()).unwrap();
        migrate(&mut sql).unwrap();
        assert_eq!(version(&sql).unwrap(), Some((7, 1)));
        sql.execute("UPDATE conveyor_meta SET usable_from = 6", ()).unwrap();
        let refused = migrate(&mut sql).unwrap_err().to_string();
        assert!(refused.contains("version 7") && refused.contains("version 6"), "{refused}");
        assert!(refused.contains(&format!("knows version {}", newest())), "{refused}");
    }
}
