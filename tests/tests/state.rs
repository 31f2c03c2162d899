//! State: what workers share is there when they run, or `build()` says what is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use conveyor::{
    BuildError, Context, Definition, End, Manager, ManagerBuilder, State, Task, worker,
};
use conveyor_core::states::Required;
use conveyor_testkit::{Sim, simulate};
use conveyor_tests::{Defined, consumer};

struct Smtp {
    sent: AtomicU32,
}

trait Mailer: Send + Sync {
    fn send(&self);
}

impl Mailer for Smtp {
    fn send(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

fn smtp() -> Smtp {
    Smtp { sent: AtomicU32::new(0) }
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime())
}

#[worker]
async fn send_by_type(smtp: State<Smtp>) {
    smtp.send();
}

#[worker]
async fn send_by_trait(State(mailer): State<dyn Mailer>) {
    mailer.send();
}

#[test]
fn a_missing_state_is_found_by_build_with_the_worker_and_the_type() {
    simulate(7, |sim| async move {
        let error = manager(&sim).register(send_by_type).build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the worker \"send_by_type\" needs a State<state::Smtp>; give the builder one by \
             `.state(…)`"
        );
        // A trait is a type of its own: the struct behind it does not do.
        let error = manager(&sim).state(smtp()).register(send_by_trait).build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the worker \"send_by_trait\" needs a State<dyn state::Mailer>; give the builder one by \
             `.state(…)`"
        );
        let by_hand = Defined(|definition: &mut Definition| {
            let kind = definition.consume("by_hand", |(): (), _| async {});
            kind.requires(Required::state::<Smtp>()).requires(Required::state::<u64>());
        });
        let error = manager(&sim).state(smtp()).register(by_hand).build().unwrap_err();
        assert!(
            matches!(&error, BuildError::MissingState { kind, type_name: "u64" } if kind.as_str() == "by_hand"),
            "{error:?}"
        );
        let manager = manager(&sim).build().unwrap();
        let error = manager.register(send_by_type).unwrap_err();
        assert!(matches!(error, BuildError::MissingState { .. }), "also while it runs: {error:?}");
    });
}

#[test]
fn a_state_given_twice_is_refused_by_build() {
    simulate(7, |sim| async move {
        let error = manager(&sim).state(7u32).state(8u32).build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there are two states of type u32; wrap one in a type of its own"
        );
        let mailer: Arc<dyn Mailer> = Arc::new(smtp());
        let error = manager(&sim)
            .shared_state::<dyn Mailer>(mailer.clone())
            .shared_state::<dyn Mailer>(mailer)
            .build()
            .unwrap_err();
        assert_eq!(error, BuildError::RepeatedState { type_name: "dyn state::Mailer" });
    });
}

#[test]
fn a_state_is_shared_by_all_who_ask_for_it_by_type_or_by_trait() {
    simulate(7, |sim| async move {
        let shared = Arc::new(smtp());
        let manager = manager(&sim)
            .shared_state(shared.clone())
            .shared_state::<dyn Mailer>(shared.clone())
            .register(send_by_type)
            .register(send_by_trait)
            .build()
            .unwrap();
        manager.start().await.unwrap();
        for _ in 0..3 {
            let receipt = manager.enqueue(send_by_type.task()).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            let receipt = manager.enqueue(send_by_trait.task()).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        }
        assert_eq!(shared.sent.load(Ordering::Relaxed), 6);
    });
}

#[test]
fn a_context_without_the_state_says_which_and_how_to_give_it() {
    simulate(7, |sim| async move {
        let handler = |(): (), ctx: Context| async move {
            assert!(ctx.try_state::<Smtp>().is_none());
            assert_eq!(*ctx.state::<u32>(), 7);
            ctx.state::<Smtp>().send();
        };
        let settings = |kind: &mut conveyor_core::worker::KindDefinition| _ = kind.retries(0);
        let manager = manager(&sim)
            .state(7u32)
            .register(consumer("work", handler, settings))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        let why =
            "panicked: no state of type state::Smtp; give the manager's builder one by `.state(…)`";
        assert_eq!(receipt.wait().await, Ok(End::Failed(why.to_owned())));
    });
}
