//! [`Sql`]: where a step's statements go, to a connection of our own or to a caller's.

use rusqlite::types::{FromSql, FromSqlError, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql};

use crate::error::Result;
#[cfg(feature = "sqlx")]
use crate::lent::{Lent, Wants};

/// Where statements go.
#[derive(Clone, Copy)]
pub(crate) enum Sql<'a> {
    Own(&'a Connection),
    /// To who holds the caller's transaction, with copies of the values.
    #[cfg(feature = "sqlx")]
    Lent(&'a Lent),
}

/// What a statement is given: a tuple or an array of values.
pub(crate) trait Values {
    fn with<R>(self, give: impl FnOnce(&[&dyn ToSql]) -> R) -> R;
}

impl<T: ToSql, const N: usize> Values for [T; N] {
    fn with<R>(self, give: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
        let values: [&dyn ToSql; N] = std::array::from_fn(|at| &self[at] as &dyn ToSql);
        give(&values)
    }
}

macro_rules! tuples_of_values {
    ($(($($type:ident $at:tt)*))*) => {
        $(impl<$($type: ToSql),*> Values for ($($type,)*) {
            fn with<R>(self, give: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
                give(&[$(&self.$at as &dyn ToSql),*])
            }
        })*
    };
}
tuples_of_values! {
    ()
    (A 0 B 1)
    (A 0 B 1 C 2)
    (A 0 B 1 C 2 D 3)
    (A 0 B 1 C 2 D 3 E 4)
    (A 0 B 1 C 2 D 3 E 4 F 5)
    (A 0 B 1 C 2 D 3 E 4 F 5 G 6)
    (A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7)
    (A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8)
}

/// A row of an answer.
pub(crate) enum Row<'a> {
    Own(&'a rusqlite::Row<'a>),
    #[cfg_attr(not(feature = "sqlx"), expect(dead_code, reason = "nothing is lent"))]
    Lent(&'a [Value]),
}

impl Row<'_> {
    /// The value of a column.
    pub(crate) fn get<T: FromSql>(&self, at: usize) -> rusqlite::Result<T> {
        match self {
            Row::Own(row) => row.get(at),
            Row::Lent(values) => {
                let value = values.get(at).ok_or(rusqlite::Error::InvalidColumnIndex(at))?;
                let value = ValueRef::from(value);
                T::column_result(value).map_err(|error| wrong_type(at, value, error))
            }
        }
    }
}

fn wrong_type(at: usize, value: ValueRef<'_>, error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, value.data_type(), Box::new(error))
}

impl<'a> Sql<'a> {
    /// Runs a statement; how many rows it changed.
    pub(crate) fn run(self, sql: &'static str, values: impl Values) -> Result<usize> {
        match self {
            Sql::Own(own) => {
                let mut statement = own.prepare_cached(sql)?;
                Ok(values.with(|values| statement.execute(values))?)
            }
            #[cfg(feature = "sqlx")]
            Sql::Lent(lent) => Ok(lent.ask(sql, copies(values)?, Wants::Effect)?.changed),
        }
    }

    /// The first row, if there is one.
    pub(crate) fn find<T>(
        self,
        sql: &'static str,
        values: impl Values,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        match self {
            Sql::Own(own) => {
                let mut statement = own.prepare_cached(sql)?;
                let read = |row: &rusqlite::Row<'_>| read(&Row::Own(row));
                Ok(values.with(|values| statement.query_row(values, read)).optional()?)
            }
            #[cfg(feature = "sqlx")]
            Sql::Lent(lent) => {
                let rows = lent.ask(sql, copies(values)?, Wants::Rows)?.rows;
                Ok(rows.first().map(|row| read(&Row::Lent(row))).transpose()?)
            }
        }
    }

    /// All rows.
    pub(crate) fn all<T>(
        self,
        sql: &'static str,
        values: impl Values,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        match self {
            Sql::Own(own) => {
                let mut statement = own.prepare_cached(sql)?;
                values.with(|values| {
                    let rows = statement.query_map(values, |row| read(&Row::Own(row)))?;
                    Ok(rows.collect::<rusqlite::Result<_>>()?)
                })
            }
            #[cfg(feature = "sqlx")]
            Sql::Lent(lent) => {
                let rows = lent.ask(sql, copies(values)?, Wants::Rows)?.rows;
                let rows = rows.iter().map(|row| read(&Row::Lent(row)));
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            }
        }
    }

    /// The number that the last insert gave.
    pub(crate) fn last_number(self) -> i64 {
        match self {
            Sql::Own(own) => own.last_insert_rowid(),
            #[cfg(feature = "sqlx")]
            Sql::Lent(lent) => lent.last_number(),
        }
    }
}

/// The values, to be sent to another thread.
#[cfg_attr(not(feature = "sqlx"), expect(dead_code, reason = "nothing is lent"))]
fn copies(values: impl Values) -> Result<Vec<Value>> {
    let copy = |value: &&dyn ToSql| {
        Ok(match value.to_sql()? {
            ToSqlOutput::Borrowed(value) => Value::try_from(value)?,
            ToSqlOutput::Owned(value) => value,
            other => {
                return Err(rusqlite::Error::ToSqlConversionFailure(
                    format!("no plain value: {other:?}").into(),
                ));
            }
        })
    };
    Ok(values.with(|values| values.iter().map(copy).collect::<rusqlite::Result<_>>())?)
}
