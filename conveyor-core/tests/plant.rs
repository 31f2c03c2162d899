//! Bugs can be planted by their names, one at a time, and never without being asked for.

use conveyor_core::plant::{Plant, planted};

#[test]
fn every_bug_has_a_name_that_names_it_alone() {
    for bug in Plant::ALL {
        assert_eq!(bug.to_string().parse(), Ok(bug));
    }
    let error = "no-such-bug".parse::<Plant>().unwrap_err();
    assert!(error.contains("no-such-bug") && error.contains("tick-twice"), "{error}");
}

#[cfg(not(conveyor_plant))]
#[test]
fn nothing_is_planted_in_a_build_that_does_not_ask_for_it() {
    const NONE: bool = !planted(Plant::TickTwice);
    const { assert!(NONE) };
    assert!(!Plant::ALL.into_iter().any(planted));
}

#[cfg(conveyor_plant)]
#[test]
fn one_bug_is_planted_at_a_time() {
    use conveyor_core::plant::plant;

    for bug in Plant::ALL {
        plant(Some(bug));
        assert!(Plant::ALL.into_iter().filter(|&bug| planted(bug)).eq([bug]));
    }
    plant(None);
    assert!(!Plant::ALL.into_iter().any(planted));
}
