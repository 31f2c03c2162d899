//! Planted bugs: known mistakes that can be switched on, one at a time, to see that the tests catch
//! each of them. A test that cannot fail proves nothing.
//!
//! They exist only in a build with `--cfg conveyor_plant`. In any other, [`planted`] is `false`
//! for the compiler too, and nothing is left of them.

use std::fmt;
use std::str::FromStr;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A settle takes effect whatever its fence.
    SettleWithoutFence,
    /// Whoever asks renews the lease of an active task, whatever the fence.
    RenewWithoutFence,
    /// A task's key is free before the task has ended: while it waits for its retry in the memory
    /// store, from its claim in the others.
    KeyFreedEarly,
    /// A task that is cancelled keeps its key until its end is forgotten.
    KeyKeptOnCancel,
    /// A schedule's mark does not keep a second process from firing an instant again.
    TickTwice,
    /// A shutdown leaves claims that it did not start to run out with their leases.
    ShutdownKeepsClaims,
    /// An attempt that was interrupted is charged as one that failed.
    InterruptionCharged,
    /// A task that died alone is not charged with the crash.
    CrashNotCharged,
    /// A consumer that goes idle does not look into the store once more.
    WakeUpLost,
    /// A consumer that is reserved for urgent tasks takes what there is.
    ReservedLentOut,
    /// A settle that is refused is counted all the same.
    FencedCounted,
    /// A retry is due at once, whatever the backoff.
    BackoffIgnored,
    /// A claim that is asked for again by its token takes other tasks.
    ClaimForgotten,
    /// A task that was taken back from the dead can still be settled by them.
    RescueKeepsFence,
    /// A task whose id is known is accepted once more.
    IdTwice,
    /// A task that has ended is begun anew when it is sent again.
    EndedBegunAnew,
}

impl Plant {
    /// Every bug that can be planted.
    pub const ALL: [Plant; 16] = [
        Plant::SettleWithoutFence,
        Plant::RenewWithoutFence,
        Plant::KeyFreedEarly,
        Plant::KeyKeptOnCancel,
        Plant::TickTwice,
        Plant::ShutdownKeepsClaims,
        Plant::InterruptionCharged,
        Plant::CrashNotCharged,
        Plant::WakeUpLost,
        Plant::ReservedLentOut,
        Plant::FencedCounted,
        Plant::BackoffIgnored,
        Plant::ClaimForgotten,
        Plant::RescueKeepsFence,
        Plant::IdTwice,
        Plant::EndedBegunAnew,
    ];

    /// What it is called on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Plant::SettleWithoutFence => "settle-without-fence",
            Plant::RenewWithoutFence => "renew-without-fence",
            Plant::KeyFreedEarly => "key-freed-early",
            Plant::KeyKeptOnCancel => "key-kept-on-cancel",
            Plant::TickTwice => "tick-twice",
            Plant::ShutdownKeepsClaims => "shutdown-keeps-claims",
            Plant::InterruptionCharged => "interruption-charged",
            Plant::CrashNotCharged => "crash-not-charged",
            Plant::WakeUpLost => "wake-up-lost",
            Plant::ReservedLentOut => "reserved-lent-out",
            Plant::FencedCounted => "fenced-counted",
            Plant::BackoffIgnored => "backoff-ignored",
            Plant::ClaimForgotten => "claim-forgotten",
            Plant::RescueKeepsFence => "rescue-keeps-fence",
            Plant::IdTwice => "id-twice",
            Plant::EndedBegunAnew => "ended-begun-anew",
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Plant::ALL.into_iter().find(|plant| plant.name() == name).ok_or_else(|| {
            let names = Plant::ALL.map(Plant::name).join(", ");
            format!("there is no bug `{name}` to plant; there are {names}")
        })
    }
}

/// Whether this bug is planted.
#[cfg(not(conveyor_plant))]
#[must_use]
#[inline(always)]
pub const fn planted(_: Plant) -> bool {
    false
}

#[cfg(conveyor_plant)]
pub use chosen::{plant, planted};

/// Which bug is planted in this process.
#[cfg(conveyor_plant)]
mod chosen {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Plant;

    /// The place of none.
    const NONE: usize = usize::MAX;

    /// The bug's place among them.
    static CHOSEN: AtomicUsize = AtomicUsize::new(NONE);

    /// Plants a bug in this process instead of the one before, or none.
    pub fn plant(bug: Option<Plant>) {
        CHOSEN.store(bug.map_or(NONE, |bug| bug as usize), Ordering::SeqCst);
    }

    /// Whether this bug is planted.
    #[must_use]
    pub fn planted(bug: Plant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == bug as usize
    }
}
