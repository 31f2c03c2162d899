//! Plants the bug that the environment names, so that any test can be seen to catch it.

use std::sync::Once;

/// The environment variable with the name of the bug.
const VARIABLE: &str = "CONVEYOR_PLANT";

/// Plants the bug, once: whoever plants another after that has the last word.
pub(crate) fn plant_as_told() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        if let Ok(name) = std::env::var(VARIABLE) {
            // A run that plants nothing would pass.
            let bug = name.parse().unwrap_or_else(|error| panic!("{VARIABLE}: {error}"));
            conveyor_core::plant::plant(Some(bug));
        }
    });
}
