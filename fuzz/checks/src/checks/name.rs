//! What a task is called: its kind, queue, key, id and priority.

use std::collections::HashSet;
use std::fmt::Display;

use conveyor_core::{Key, Kind, NameError, Priority, QueueName, TaskId};

/// Any text in the place of a name.
///
/// # Panics
/// If something does not hold.
pub fn name(text: &str) {
    check(text, Kind::MAX_LEN, Kind::new(text));
    check(text, QueueName::MAX_LEN, QueueName::new(text));
    check(text, Key::MAX_LEN, Key::new(text));
    if let Ok(key) = Key::new(text) {
        assert!(HashSet::from([key]).contains(text), "a key is found by its text: {text:?}");
    }
    match text.parse::<Priority>() {
        Ok(priority) => assert_eq!(priority.to_string().parse(), Ok(priority)),
        Err(error) => is_readable(text, &error),
    }
    match text.parse::<TaskId>() {
        Ok(id) => assert_eq!(id.to_string().parse(), Ok(id)),
        Err(error) => is_readable(text, &error),
    }
}

fn check<N: AsRef<str> + Display>(text: &str, limit: usize, name: Result<N, NameError>) {
    let control = text.chars().find(|c| c.is_control());
    let fits = !text.is_empty() && text.len() <= limit && control.is_none();
    match name {
        Ok(name) => {
            assert!(fits, "{text:?} breaks a rule and is a name");
            assert_eq!((name.as_ref(), &*name.to_string()), (text, text));
        }
        Err(error) => {
            assert!(!fits, "{text:?} breaks no rule and is refused: {error}");
            is_readable(text, &error);
            match error {
                NameError::Empty { .. } => assert!(text.is_empty()),
                NameError::TooLong { start, len, .. } => {
                    assert!(text.starts_with(&start) && len == text.len() && len > limit);
                }
                NameError::ControlCharacter { found, .. } => assert_eq!(Some(found), control),
                other => panic!("nobody expects {other}"),
            }
        }
    }
}

/// A message is one line that fits in a log, whatever it is about.
fn is_readable(text: &str, message: &impl Display) {
    let message = message.to_string();
    assert!(message.len() < 1_000, "{} bytes about {} bytes", message.len(), text.len());
    assert!(!message.contains(char::is_control), "{message:?}");
}
