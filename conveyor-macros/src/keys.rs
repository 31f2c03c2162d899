//! The keys that the attributes know: where each belongs, and how it is written.

/// Where a key stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `#[worker]` on a function.
    Function,
    /// `#[worker]` on an `impl` block.
    Impl,
    /// `#[consume]` on a method.
    Consume,
    /// `#[task]` on a type that derives `Task`.
    Task,
}

use Place::{Consume, Function, Impl, Task};

impl Place {
    /// The attribute, as the user wrote it.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Function | Impl => "`#[worker]`",
            Consume => "`#[consume]`",
            Task => "`#[task]`",
        }
    }
}

/// A key of an attribute.
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// How it is written, for messages.
    pub(crate) example: &'static str,
    /// Where it may stand.
    pub(crate) places: &'static [Place],
}

const fn key(name: &'static str, example: &'static str, places: &'static [Place]) -> Key {
    Key { name, example, places }
}

const OF_A_TYPE: &[Place] = &[Function, Impl, Consume, Task];
const OF_A_KIND: &[Place] = &[Function, Impl, Consume];
const OF_A_WORKER: &[Place] = &[Function, Impl];

/// Every key, in the order of the documentation.
pub(crate) const KEYS: [Key; 19] = [
    key("kind", r#"kind = "email.send""#, OF_A_TYPE),
    key("queue", r#"queue = "mail""#, OF_A_TYPE),
    key("interval", r#"interval = "5s""#, OF_A_WORKER),
    key("cron", r#"cron = "*/5 * * * *""#, OF_A_WORKER),
    key("timezone", r#"timezone = "Europe/Berlin""#, OF_A_WORKER),
    key("priority", "priority = high", OF_A_TYPE),
    key("retries", "retries = 5", OF_A_KIND),
    key("backoff", r#"backoff = "1s..10m""#, OF_A_KIND),
    key("retry_if", "retry_if = |error| error.is_transient()", OF_A_KIND),
    key("retry_on_panic", "retry_on_panic = false", OF_A_KIND),
    key("timeout", r#"timeout = "30s""#, OF_A_KIND),
    key("cancel_grace", r#"cancel_grace = "2s""#, OF_A_KIND),
    key("concurrency", "concurrency = 8", OF_A_KIND),
    key("key", "key = |payload| payload.id.to_string()", OF_A_TYPE),
    key("overlap", "overlap = allow", OF_A_WORKER),
    key("missed", "missed = skip", OF_A_WORKER),
    key("produce_timeout", r#"produce_timeout = "1m""#, &[Impl]),
    key("blocking", "blocking", OF_A_KIND),
    key("crate", r#"crate = "path::to::conveyor""#, &[Function, Impl, Task]),
];

/// The key of that name, if it may stand there.
///
/// # Errors
/// What is wrong with it, and the way out.
pub(crate) fn find(name: &str, place: Place) -> Result<&'static Key, String> {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else {
        return Err(unknown(name, place));
    };
    if key.places.contains(&place) {
        return Ok(key);
    }
    Err(match (name, place) {
        ("produce_timeout", Function) => {
            "`produce_timeout` is for a worker with a `produce` method; a function's own limit is \
             `timeout`"
                .to_owned()
        }
        (_, Consume) => format!(
            "`{name}` is said once for the whole worker: write it in the `#[worker(…)]` of the \
             `impl` block"
        ),
        _ => format!(
            "`{name}` is the worker's to say, not the payload type's; the keys of {} are {}",
            place.attribute(),
            names(place)
        ),
    })
}

fn unknown(name: &str, place: Place) -> String {
    let near = KEYS
        .iter()
        .filter(|key| key.places.contains(&place))
        .map(|key| (distance(name, key.name), key.name))
        .min()
        .filter(|&(distance, near)| distance <= near.len().div_ceil(3));
    let hint = near.map_or(String::new(), |(_, near)| format!("; did you mean `{near}`?"));
    let end = if hint.is_empty() { ";" } else { "" };
    format!("{} has no key `{name}`{hint}{end} the keys are {}", place.attribute(), names(place))
}

fn names(place: Place) -> String {
    let names: Vec<_> =
        KEYS.iter().filter(|key| key.places.contains(&place)).map(|key| key.name).collect();
    names.join(", ")
}

/// How many letters have to be changed, added or left out to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(!from.eq_ignore_ascii_case(to));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_told_from_a_word_that_is_far_from_all() {
        for (wrong, right) in [("retrys", "retries"), ("Queue", "queue"), ("time_zone", "timezone")]
        {
            let message = unknown(wrong, Function);
            assert!(message.contains(&format!("did you mean `{right}`?")), "{message}");
        }
        assert!(!unknown("colour", Function).contains("did you mean"));
    }
}
