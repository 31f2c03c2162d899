//! How attempts end in cases.

use std::time::Duration;

use conveyor_core::store::{Claimed, Settle, Verdict};

/// A settle without children.
pub(super) fn settle(claimed: &Claimed, verdict: Verdict) -> Settle {
    Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    }
}

/// Tried again at once.
pub(super) fn retry() -> Verdict {
    retry_after(Duration::ZERO)
}

pub(super) fn retry_after(delay: Duration) -> Verdict {
    Verdict::Retry { delay, error: "no luck".into() }
}

/// Runs again at once.
pub(super) fn snooze() -> Verdict {
    snooze_for(Duration::ZERO)
}

pub(super) fn snooze_for(delay: Duration) -> Verdict {
    Verdict::Snooze { delay }
}

pub(super) fn fail() -> Verdict {
    Verdict::Fail { error: "no hope".into() }
}

pub(super) fn cancel() -> Verdict {
    Verdict::Cancel { why: "no point".into() }
}

/// Of an attempt that had started.
pub(super) fn hand_back() -> Verdict {
    Verdict::Return { started: true }
}

/// Of an attempt that had not.
pub(super) fn give_back() -> Verdict {
    Verdict::Return { started: false }
}

pub(super) fn park() -> Verdict {
    Verdict::Park { reason: "no sense".into() }
}

/// One verdict of each sort; what is to wait waits for a year.
pub(super) fn every_verdict() -> Vec<Verdict> {
    let year = Duration::from_secs(365 * 24 * 3600);
    vec![
        Verdict::Succeed,
        retry(),
        retry_after(year),
        fail(),
        cancel(),
        snooze(),
        snooze_for(year),
        hand_back(),
        give_back(),
        Verdict::Interrupt,
        park(),
    ]
}
