//! A request to cancel beside the claim of its task: the task never starts, or its attempt is told.

use conveyor_core::store::CancelReply;

use super::*;

#[test]
fn a_task_that_is_cancelled_beside_its_claim_is_told_or_never_starts() {
    check(|| {
        let model = Model::with(1, |store| store, wait_for_the_stop);
        let receipt = block_on(model.engine.enqueue(work())).unwrap();
        let consumer = model.consume(0);
        let reply = block_on(model.store().cancel(&[receipt.id()])).unwrap();
        // An attempt that is not told waits for ever: no lease is renewed, since no time passes.
        let end = block_on(receipt.wait()).unwrap();
        match reply[..] {
            [CancelReply::Cancelled] => assert!(matches!(end, End::Cancelled(_))),
            [CancelReply::Requested] => {}
            _ => panic!("{reply:?}"),
        }
        model.stop();
        consumer.join().unwrap();
    });
}
