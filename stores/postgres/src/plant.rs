//! The planted bugs of this store: statements as whoever made the mistake would have written them.
//!
//! They exist only in a build with `--cfg conveyor_plant`, as those of `conveyor_core::plant` do.

/// A statement, or a migration, as it is to be run.
#[cfg(not(conveyor_plant))]
#[inline(always)]
pub(crate) const fn sown(sql: &str) -> &str {
    sql
}

#[cfg(conveyor_plant)]
pub(crate) use mistakes::sown;

#[cfg(conveyor_plant)]
mod mistakes {
    use conveyor_core::plant::{Plant, planted};

    /// The bug, what is written, and what whoever makes the mistake writes instead. A text that is
    /// gone plants nothing, and then the bug is not caught. What is Rust is planted where it is.
    const MISTAKES: &[(Plant, &str, &str)] = &[
        // The other half of the fence than in the store in a file: the suite is the same.
        (
            Plant::SettleWithoutFence,
            "l.epoch <> s.epoch or l.holder <> s.holder",
            "l.epoch <> s.epoch",
        ),
        (Plant::RenewWithoutFence, "l.epoch = f.epoch and l.holder", "l.holder"),
        (Plant::KeyFreedEarly, LOCKED, LOCKED_AND_FREED),
        (Plant::CrashNotCharged, "crashes = t.crashes + (v_as = 2)::int4", "crashes = t.crashes"),
        (Plant::FencedCounted, "where reply = 0\n        group", "where lane is not null\n group"),
        (Plant::ClaimForgotten, "l.token = any(p_tokens)", "false"),
        (Plant::RescueKeepsFence, "holder = null", "holder = v_one.holder"),
        (
            Plant::IdTwice,
            "conveyor.task (\n    id uuid primary key",
            "conveyor.task (id uuid not null",
        ),
        // Of the insert itself, and of the second look after it.
        (Plant::EndedBegunAnew, "conveyor.ended e where e.id = n.id", "conveyor.ended where false"),
        (Plant::EndedBegunAnew, "conveyor.ended e where e.id = t.id", "conveyor.ended where false"),
    ];

    const LOCKED: &str = "for no key update of t skip locked
        ) t
    ),";
    const LOCKED_AND_FREED: &str = "for no key update of t skip locked
        ) t
    ),
    freed as (
        update conveyor.task set key = null where id = any(array(select id from locked))
    ),";

    /// A statement, or a migration, with the mistake that is planted.
    pub(crate) fn sown(sql: &str) -> String {
        let mistakes = MISTAKES.iter().filter(|&&(bug, ..)| planted(bug));
        mistakes.fold(sql.to_owned(), |sql, (_, right, wrong)| sql.replace(right, wrong))
    }
}
