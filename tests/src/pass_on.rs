//! [`pass_on!`](crate::pass_on!): a store that stands before another.

/// Writes the calls of a `Store` that are all passed on alike, each as `self.pass(call)`: those that
/// are not `capabilities`, `claim`, `renew`, `counters` or `subscribe`.
///
/// `pass` takes a call of the store within: `impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>`.
#[macro_export]
macro_rules! pass_on {
    () => {
        $crate::pass_on! {
            durability() -> ::conveyor::Durability;
            now() -> ::conveyor::Timestamp;
            enqueue(batch: Vec<::conveyor_core::store::NewTask>)
                -> Vec<::conveyor_core::store::Enqueued>;
            settle(batch: Vec<::conveyor_core::store::Settle>)
                -> Vec<::conveyor_core::store::Settled>;
            rescue(request: ::conveyor_core::store::RescueRequest)
                -> ::conveyor_core::store::Rescue;
            promote(limit: usize) -> Option<::conveyor::Timestamp>;
            put_schedule(definition: ::conveyor_core::store::ScheduleDefinition)
                -> ::conveyor_core::store::ScheduleState;
            remove_schedule(name: &'a ::conveyor::Kind) -> ();
            tick(batch: Vec<::conveyor_core::store::Tick>) -> Vec<::conveyor_core::store::Ticked>;
            cancel(ids: &'a [::conveyor::TaskId]) -> Vec<::conveyor::CancelReply>;
            pause(queue: &'a ::conveyor::QueueName, paused: bool) -> ();
            paused() -> Vec<::conveyor::QueueName>;
            ends(ids: &'a [::conveyor::TaskId]) -> Vec<::conveyor_core::store::EndState>;
            inspect(filter: &'a ::conveyor::Filter) -> ::conveyor::Page;
            prune(limit: usize) -> usize;
        }
    };
    ($($name:ident($($arg:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(fn $name<'a>(&'a self, $($arg: $type),*) -> ::conveyor_core::store::StoreFuture<'a, $reply> {
            self.pass(move |store| store.$name($($arg),*))
        })*
    };
}
