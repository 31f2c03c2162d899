//! A quarantine: it hears when the process holds nothing any more, and who waits for it to be
//! lifted hears of that.

use super::*;
use crate::quarantine::Wait;

#[test]
fn a_quarantine_hears_that_the_last_claim_is_settled() {
    check(|| {
        let model = Model::new(1);
        model.engine.hold(2);
        let engine = Arc::clone(&model.engine);
        let quiet = spawn(async move {
            let quarantine = engine.quarantine.begin(&engine).unwrap();
            matches!(quarantine.wait().await, Wait::Quiet)
        });
        let engine = Arc::clone(&model.engine);
        let settles = thread::spawn(move || engine.release(1));
        model.engine.release(1);
        settles.join().unwrap();
        assert!(quiet.join().unwrap());
    });
}

#[test]
fn a_quarantine_hears_of_the_stop() {
    check(|| {
        let model = Model::new(1);
        model.engine.hold(1);
        let engine = Arc::clone(&model.engine);
        let quiet = spawn(async move {
            let quarantine = engine.quarantine.begin(&engine).unwrap();
            matches!(quarantine.wait().await, Wait::Quiet)
        });
        model.stop();
        assert!(!quiet.join().unwrap());
    });
}

#[test]
fn who_waits_for_the_end_of_a_quarantine_hears_of_it() {
    check(|| {
        let model = Model::new(1);
        let quarantine = model.engine.quarantine.begin(&model.engine).unwrap();
        let consumer = model.consume(0);
        let receipt = block_on(model.engine.enqueue(work())).unwrap();
        drop(quarantine);
        block_on(receipt.wait()).unwrap();
        model.stop();
        consumer.join().unwrap();
    });
}
