//! [`Holder`]: what the table knows of a process that holds claims.

use crate::plant::{Plant, planted};

/// A process that holds claims. It is forgotten with the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holder {
    /// How many claims it holds.
    pub(super) held: usize,
    /// It holds a suspect, and gets nothing else.
    pub(super) alone: bool,
    /// It died with several claims, some of which were rescued before the others. A sign of life
    /// takes it back: then it only lost those leases.
    pub(super) died_in_company: bool,
    /// The tokens of its last requests that were given something, in a ring.
    tokens: [u64; REMEMBERED],
    /// How many such requests there were.
    requests: usize,
}

/// What is sent again comes soon after, as a rule: then it is among the last ones.
const REMEMBERED: usize = 16;

impl Holder {
    /// Whether a request of that token was given something that it may still hold.
    pub(super) fn was_given(&self, token: u64) -> bool {
        self.tokens[..self.requests.min(REMEMBERED)].contains(&token)
    }

    /// Whether a request of that token may have been given something before those that are
    /// remembered: tokens rise, so a new one is not below them all.
    pub(super) fn may_have_been_given(&self, token: u64) -> bool {
        let oldest = self.tokens[self.requests % REMEMBERED];
        self.requests >= REMEMBERED && token.wrapping_sub(oldest).cast_signed() < 0
    }

    /// Notes that the request of that token was given something.
    pub(super) fn give(&mut self, token: u64) {
        if planted(Plant::ClaimForgotten) {
            return;
        }
        self.tokens[self.requests % REMEMBERED] = token;
        self.requests += 1;
    }
}
