//! The way from what makes a task claimable to the consumer that runs it.

use super::*;

#[test]
fn a_task_that_is_enqueued_while_its_consumer_lies_down_is_run() {
    check(|| {
        let model = Model::new(1);
        let consumer = model.consume(0);
        let receipt = block_on(model.engine.enqueue(work())).unwrap();
        model.run_all(&[receipt], vec![consumer]);
    });
}

#[test]
fn a_wake_up_for_a_consumer_that_is_dropped_goes_on_to_another() {
    check_within(2, || {
        let model = Model::new(2);
        let dropped = Arc::new(Event::new());
        let first = {
            let listener = dropped.listen();
            let run = Consumer::new(Arc::clone(&model.engine), Arc::clone(&model.pool), 0).run();
            spawn(async move {
                futures::future::select(listener, Box::pin(run)).await;
            })
        };
        let second = model.consume(1);
        let receipt = block_on(model.engine.enqueue(work())).unwrap();
        dropped.notify(usize::MAX);
        model.run_all(&[receipt], vec![first, second]);
    });
}

#[test]
fn a_queue_that_goes_on_is_looked_at() {
    check(|| {
        let model = Model::new(1);
        block_on(model.store().pause(&QueueName::DEFAULT, true)).unwrap();
        let receipt = block_on(model.engine.enqueue(work())).unwrap();
        let consumer = model.consume(0);
        block_on(model.store().pause(&QueueName::DEFAULT, false)).unwrap();
        model.run_all(&[receipt], vec![consumer]);
    });
}

#[test]
fn a_kind_that_is_registered_is_looked_for() {
    check(|| {
        let model = Model::new(1);
        let manager = Manager::new(Arc::clone(&model.engine));
        let receipt = block_on(model.engine.enqueue(Task::new("late", ()).erase())).unwrap();
        let consumer = model.consume(0);
        manager.register(Late).unwrap();
        model.run_all(&[receipt], vec![consumer]);
    });
}

struct Late;

impl conveyor_core::Worker for Late {
    fn define(self: Arc<Self>, definition: &mut Definition) {
        definition.consume("late", async |(): (), _| Ok::<_, Error>(()));
    }
}

#[test]
fn a_queue_that_is_served_from_now_on_is_looked_at() {
    check(|| {
        let model = Model::new(1);
        let consumer = model.consume(0);
        let task = Task::new("work", ()).queue("new").erase();
        let receipt = block_on(model.engine.enqueue(task)).unwrap();
        model.run_all(&[receipt], vec![consumer]);
    });
}
