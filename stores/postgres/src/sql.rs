//! Statements, which name the schema `conveyor` wherever they are written down, made to name the
//! one that was chosen.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, FromRow, Postgres};

use crate::plant::sown;

/// Makes statements for a schema.
pub(crate) struct Sql {
    /// As it was chosen.
    name: String,
    /// As an identifier, in quotes.
    schema: String,
    made: Mutex<HashMap<&'static str, Arc<str>>>,
    /// Whether the server keeps statements for a connection: not behind a pooler, where the next
    /// transaction may have another.
    keeps: bool,
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;
type QueryAs<'q, T> = sqlx::query::QueryAs<'q, Postgres, T, PgArguments>;
type QueryScalar<'q, T> = sqlx::query::QueryScalar<'q, Postgres, T, PgArguments>;

/// The most bytes that PostgreSQL keeps of a name.
const LONGEST: usize = 63;

impl Sql {
    /// For a schema of that name, which may have any characters but those that nobody could quote.
    pub(crate) fn new(schema: &str, keeps: bool) -> Result<Self, String> {
        if schema.is_empty() || schema.len() > LONGEST {
            return Err(format!("the schema {schema:?} has {} bytes, not 1 to 63", schema.len()));
        }
        if schema.starts_with("pg_") || schema.contains(['\0', '$']) {
            return Err(format!("the schema {schema:?} begins with pg_ or has a NUL or a $ in it"));
        }
        let name = schema.to_owned();
        Ok(Sql {
            name,
            schema: format!("\"{}\"", schema.replace('"', "\"\"")),
            made: Mutex::default(),
            keeps,
        })
    }

    /// The schema's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The schema, quoted.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The statement for the schema, to be given its values.
    pub(crate) fn query(&self, written: &'static str) -> Query<'static> {
        sqlx::query(self.statement(written)).persistent(self.keeps)
    }

    /// The same, for rows of that type.
    pub(crate) fn query_as<T>(&self, written: &'static str) -> QueryAs<'static, T>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_as(self.statement(written)).persistent(self.keeps)
    }

    /// The same, for the only column.
    pub(crate) fn query_scalar<T>(&self, written: &'static str) -> QueryScalar<'static, T>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_scalar(self.statement(written)).persistent(self.keeps)
    }

    fn statement(&self, written: &'static str) -> AssertSqlSafe<Arc<str>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let statement = made.entry(written).or_insert_with(|| self.make(written).into());
        AssertSqlSafe(Arc::clone(statement))
    }

    /// A longer text, such as a migration; it is not kept.
    pub(crate) fn script(&self, written: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(self.make(written))
    }

    fn make(&self, written: &str) -> String {
        let in_text = self.schema.replace('\'', "''");
        sown(written)
            .replace("'conveyor.", &format!("'{in_text}\u{1}"))
            .replace("conveyor.", &format!("{}.", self.schema))
            .replace('\u{1}', ".")
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sql({})", self.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_quoted_as_an_identifier_and_in_a_text() {
        let sql = Sql::new("it's \"mine\"", true).unwrap();
        let made = sql.make("select nextval('conveyor.age') from conveyor.task");
        let expected = r#"select nextval('"it''s ""mine""".age') from "it's ""mine"""."#;
        assert_eq!(made, format!("{expected}task"));
    }

    #[test]
    fn what_cannot_be_a_schema_is_refused() {
        for name in ["", "pg_mine", "a\0b", "$body$", &"x".repeat(64)] {
            assert!(Sql::new(name, true).is_err(), "{name:?}");
        }
    }
}
