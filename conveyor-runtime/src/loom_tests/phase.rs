//! Phases: who waits for one hears of it, or of a later one.

use super::*;
use crate::phase::{Phase, Phases};

#[test]
fn who_waits_for_a_phase_hears_of_it() {
    check_within(2, || {
        let phases = Arc::new(Phases::default());
        let waits = [Phase::Running, Phase::Draining].map(|phase| {
            let phases = Arc::clone(&phases);
            spawn(async move {
                phases.reached(phase).await;
                assert!(phases.now() >= phase);
            })
        });
        assert!(phases.advance(Phase::Running));
        assert!(phases.advance(Phase::Draining));
        join(waits);
    });
}

#[test]
fn of_two_who_go_on_to_a_phase_one_is_the_first_and_none_goes_back() {
    check(|| {
        let phases = Arc::new(Phases::default());
        let advances = |phase| {
            let phases = Arc::clone(&phases);
            thread::spawn(move || phases.advance(phase))
        };
        let (one, other) = (advances(Phase::Draining), advances(Phase::Draining));
        phases.advance(Phase::Stopped);
        let firsts = usize::from(one.join().unwrap()) + usize::from(other.join().unwrap());
        assert!(firsts <= 1);
        assert_eq!(phases.now(), Phase::Stopped);
    });
}
