//! What is in a store's file, by plain SQL: all of it as text, and whether it is of one piece.

use std::path::Path;

use conveyor_core::TaskId;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// All that a store's tables hold.
pub(crate) fn contents(sql: &Connection) -> String {
    let mut find = sql
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .expect("a statement");
    let tables = find.query_map((), |row| row.get::<_, String>(0)).expect("names");
    let mut all = String::new();
    for table in tables.map(|table| table.expect("a name")) {
        all.push_str(&table);
        all.push('\n');
        let mut rows = sql.prepare(&format!("SELECT * FROM {table}")).expect("a statement");
        let columns = rows.column_count();
        let rows = rows.query_map((), |row| {
            let value = |at| Ok(text(row.get(at)?));
            (0..columns).map(value).collect::<rusqlite::Result<Vec<_>>>()
        });
        for row in rows.expect("rows") {
            all.push_str(&row.expect("a row").join(", "));
            all.push('\n');
        }
    }
    all
}

/// A value as text; of a long one the bytes as they are, since there are many files to look at.
fn text(value: Value) -> String {
    match value {
        Value::Blob(bytes) if bytes.len() > 64 => String::from_utf8_lossy(&bytes).into_owned(),
        value => format!("{value:?}"),
    }
}

/// The tasks that are known.
pub(crate) fn known(sql: &Connection) -> Vec<TaskId> {
    let mut find = sql.prepare("SELECT id FROM conveyor_tasks ORDER BY age").expect("a statement");
    let ids = find.query_map((), |row| row.get::<_, [u8; 16]>(0)).expect("ids");
    ids.map(|id| TaskId::from_u128(u128::from_be_bytes(id.expect("an id")))).collect()
}

/// What is wrong with a file, if anything is.
pub(crate) fn unsound(sql: &Connection) -> Option<String> {
    let checked: String =
        sql.query_row("PRAGMA integrity_check", (), |row| row.get(0)).expect("it is checked");
    if checked != "ok" {
        return Some(checked);
    }
    let all_of = |table: &str, condition: &str| {
        let count = format!("SELECT count(*) FROM {table} WHERE NOT ({condition})");
        let wrong: i64 = sql.query_row(&count, (), |row| row.get(0)).expect("it is counted");
        (wrong > 0).then(|| format!("{wrong} of {table} do not have {condition}"))
    };
    let tasks = "(SELECT count(*) FROM conveyor_tasks t WHERE t.stream = s.stream";
    let ended = "processed + failed + cancelled + crashed";
    [
        ("conveyor_streams s", format!("scheduled = {tasks} AND state = 0)")),
        ("conveyor_streams s", format!("queued = {tasks} AND state = 1)")),
        ("conveyor_streams s", format!("active = {tasks} AND state = 2)")),
        ("conveyor_streams s", format!("parked = {tasks} AND state = 3)")),
        ("conveyor_streams s", format!("enqueued - ({ended}) = {tasks} AND state < 4)")),
        (
            "conveyor_meta",
            "ended = (SELECT count(*) FROM conveyor_tasks WHERE state = 4)".to_owned(),
        ),
        (
            "conveyor_tasks t",
            "(state < 4) = (age IN (SELECT age FROM conveyor_payloads))".to_owned(),
        ),
        (
            "conveyor_tasks t",
            "state <> 2 OR holder IN (SELECT holder FROM conveyor_holders)".to_owned(),
        ),
        (
            "conveyor_holders h",
            "held = (SELECT count(*) FROM conveyor_tasks t
                     WHERE t.state = 2 AND t.holder = h.holder)"
                .to_owned(),
        ),
        (
            "conveyor_schedules",
            "last IS NULL OR last IN (SELECT id FROM conveyor_tasks)".to_owned(),
        ),
    ]
    .iter()
    .find_map(|(table, condition)| all_of(table, condition))
}

/// A connection that only reads.
pub(crate) fn to_read(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).expect("it is there to be read")
}
