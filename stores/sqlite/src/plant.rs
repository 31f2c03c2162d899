//! The planted bugs of this store: statements as whoever made the mistake would have written them.
//!
//! They exist only in a build with `--cfg conveyor_plant`, as those of `conveyor_core::plant` do.

/// A statement, or the statements of a migration, as they are to be run.
#[cfg(not(conveyor_plant))]
#[inline(always)]
pub(crate) const fn sown(sql: &'static str) -> &'static str {
    sql
}

#[cfg(conveyor_plant)]
pub(crate) use mistakes::sown;

#[cfg(conveyor_plant)]
mod mistakes {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};

    use conveyor_core::plant::{Plant, planted};

    /// The bug, what is written, and what whoever makes the mistake writes instead. A text that is
    /// gone plants nothing, and then the bug is not caught. What is Rust is planted where it is.
    const MISTAKES: &[(Plant, &str, &str)] = &[
        // The epoch alone tells a process from itself after it has lost the task.
        (
            Plant::SettleWithoutFence,
            "AND epoch = ?3 AND holder = ?4",
            "AND ?3 NOTNULL AND holder = ?4",
        ),
        (Plant::RenewWithoutFence, "AND holder = ?3 AND state = 2", "AND ?3 NOTNULL AND state = 2"),
        (Plant::KeyFreedEarly, "key IS NOT NULL AND state < 4", "key IS NOT NULL AND state < 2"),
        (Plant::TickTwice, "WHERE name = ?1 AND mark = ?2", "WHERE name = ?1 AND ?2 NOTNULL"),
        (Plant::CrashNotCharged, "crashes = crashes + ?2", "crashes = crashes + 0 * ?2"),
        (Plant::ClaimForgotten, "holder = ?1 AND token = ?2", "holder = ?1 AND token = ?2 AND 0"),
        (Plant::ClaimForgotten, "INSERT INTO conveyor_claims", "REPLACE INTO conveyor_claims"),
        (Plant::RescueKeepsFence, "SET holder = 0", "SET holder = holder"),
        (Plant::IdTwice, ID, ANY_ID),
        (Plant::EndedBegunAnew, ID, ANY_ID),
        (Plant::EndedBegunAnew, KEYS, LIVE_IDS),
    ];

    const ID: &str = "id            BLOB    NOT NULL UNIQUE,";
    const ANY_ID: &str = "id            BLOB    NOT NULL,";
    const KEYS: &str = "CREATE UNIQUE INDEX conveyor_keys ON";
    const LIVE_IDS: &str =
        "CREATE UNIQUE INDEX conveyor_ids ON conveyor_tasks (id) WHERE state < 4;
        CREATE UNIQUE INDEX conveyor_keys ON";

    /// A statement, or the statements of a migration, with the mistake that is planted.
    pub(crate) fn sown(sql: &'static str) -> &'static str {
        /// Kept for ever, since statements are; there are few.
        static SOWN: LazyLock<Mutex<HashMap<String, &'static str>>> = LazyLock::new(Mutex::default);
        let mistakes = MISTAKES.iter().filter(|&&(bug, ..)| planted(bug));
        let sown =
            mistakes.fold(sql.to_owned(), |sql, (_, right, wrong)| sql.replace(right, wrong));
        if sown == sql {
            return sql;
        }
        let mut kept = SOWN.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(sown).or_insert_with_key(|sown| sown.clone().leak())
    }
}
