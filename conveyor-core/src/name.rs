//! Validated names: [`Kind`], [`QueueName`] and [`Key`].
//!
//! Every name that reaches a store has passed [`NameError`]'s rules, so that no store has to ask
//! what an empty, endless or NUL-bearing name would do to it.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

use smol_str::SmolStr;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    #[error("the {what} is empty; give it at least one character")]
    Empty {
        /// What was being named: `kind`, `queue` or `key`.
        what: &'static str,
    },
    /// The name has more bytes than are kept.
    #[error("the {what} {start:?}… has {len} bytes; the limit is {limit}")]
    TooLong {
        /// What was being named.
        what: &'static str,
        /// How the name begins.
        start: String,
        /// Its length in bytes.
        len: usize,
        /// The most bytes that such a name may have.
        limit: usize,
    },
    /// The name has a control character, such as NUL or a line break.
    #[error("the {what} {name:?} has the control character {found:?}; leave it out")]
    ControlCharacter {
        /// What was being named.
        what: &'static str,
        /// The name as it was given.
        name: String,
        /// The first control character in it.
        found: char,
    },
}

impl From<std::convert::Infallible> for NameError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// The characters of a name: borrowed from the program, in place if they are few, or shared.
#[derive(Clone)]
enum Text {
    Static(&'static str),
    Own(SmolStr),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Text::Static(text) => text,
            Text::Own(text) => text,
        }
    }
}

fn check(what: &'static str, limit: usize, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > limit {
        let start = name.chars().take(24).collect();
        return Err(NameError::TooLong { what, start, len: name.len(), limit });
    }
    if name.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return Ok(());
    }
    match name.chars().find(|c| c.is_control()) {
        Some(found) => {
            Err(NameError::ControlCharacter { what, name: name.chars().take(64).collect(), found })
        }
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Text);

        impl $name {
            #[doc = concat!("The most bytes that a ", $what, " may have.")]
            pub const MAX_LEN: usize = $limit;

            #[doc = concat!("Checks `name` and makes a ", $what, " of it.")]
            ///
            /// # Errors
            /// [`NameError`] if it is empty, longer than [`Self::MAX_LEN`] bytes, or has a control
            /// character.
            pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
                let name = name.as_ref();
                check($what, $limit, name)?;
                Ok($name(Text::Own(SmolStr::new(name))))
            }

            #[doc = concat!("A ", $what, " that is part of the program; checked when it is compiled.")]
            ///
            /// # Panics
            /// If it is empty, too long, or has an ASCII control character: in a `const`, that
            /// is an error of the compiler.
            #[must_use]
            pub const fn from_static(name: &'static str) -> Self {
                let bytes = name.as_bytes();
                assert!(!bytes.is_empty(), concat!("the ", $what, " is empty"));
                assert!(bytes.len() <= $limit, concat!("the ", $what, " is too long"));
                let mut i = 0;
                while i < bytes.len() {
                    assert!(
                        bytes[i] >= 0x20 && bytes[i] != 0x7f,
                        concat!("the ", $what, " has a control character")
                    );
                    i += 1;
                }
                $name(Text::Static(name))
            }

            /// The name, if it was made by [`Self::from_static`]; for checks in a `const`, where
            /// [`Self::as_str`] cannot be used.
            #[must_use]
            pub const fn as_static(&self) -> Option<&'static str> {
                match &self.0 {
                    Text::Static(text) => Some(text),
                    Text::Own(_) => None,
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(name: &str) -> Result<Self, NameError> {
                $name::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                $name::new(name)
            }
        }
    };
}

name_type! {
    /// The name of the code that a task is for, such as `send_email`.
    ///
    /// Cloning costs nothing for a kind that is part of the program, which most are.
    Kind, "kind", 128
}

name_type! {
    /// The name of a queue, such as `mail`.
    QueueName, "queue", 128
}

name_type! {
    /// What makes two tasks of a kind the same: at most one live task has a given (kind, key).
    ///
    /// One of up to 23 bytes is kept in place; a longer one is shared by its clones.
    Key, "key", 1024
}

impl QueueName {
    /// The queue of every task that names none.
    pub const DEFAULT: QueueName = QueueName::from_static("default");
}

impl Default for QueueName {
    fn default() -> Self {
        QueueName::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_is_refused_with_the_reason() {
        assert_eq!(Kind::new(""), Err(NameError::Empty { what: "kind" }));
        let long = "x".repeat(129);
        let error = QueueName::new(long.as_str()).unwrap_err().to_string();
        assert!(error.contains("has 129 bytes; the limit is 128"), "{error}");
        let error = Key::new("a\0b").unwrap_err().to_string();
        assert!(error.contains(r"'\0'"), "{error}");
    }

    #[test]
    fn quotes_wildcards_and_emoji_are_names_like_any_other() {
        for name in ["'; drop table task; --", "%_*?", "🦀", "a b"] {
            assert_eq!(Key::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_is_as_small_as_a_string() {
        assert_eq!(size_of::<Option<Key>>(), size_of::<String>());
    }

    #[test]
    fn static_and_shared_names_are_equal() {
        const KIND: Kind = Kind::from_static("mail");
        assert_eq!(KIND, Kind::new("mail").unwrap());
    }
}
