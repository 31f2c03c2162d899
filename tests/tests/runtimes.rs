//! Every runtime passes the one suite.
#![allow(missing_docs, reason = "a test's name says what it is for")]

mod tokio_on_many_threads {
    use std::sync::Arc;

    use conveyor::TokioRuntime;
    use conveyor_testkit::runtime_suite::Case;

    conveyor_testkit::runtime_suite!(
        |case: Case| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                case(Arc::new(TokioRuntime::current().expect("there is one"))).await;
            });
        },
        threads
    );
}

mod tokio_on_one_thread {
    use std::sync::Arc;

    use conveyor::TokioRuntime;
    use conveyor_testkit::runtime_suite::Case;

    conveyor_testkit::runtime_suite!(
        |case: Case| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                case(Arc::new(TokioRuntime::current().expect("there is one"))).await;
            });
        },
        threads
    );
}

mod smol_on_its_shared_executor {
    use std::sync::Arc;

    use conveyor::SmolRuntime;
    use conveyor_testkit::runtime_suite::Case;

    conveyor_testkit::runtime_suite!(
        |case: Case| smol::block_on(case(Arc::new(SmolRuntime::new()))),
        threads
    );
}

mod smol_on_an_executor_of_the_users {
    use std::sync::Arc;

    use conveyor::SmolRuntime;
    use conveyor_testkit::runtime_suite::Case;

    conveyor_testkit::runtime_suite!(
        |case: Case| {
            let executor = Arc::new(smol::Executor::new());
            let runtime = SmolRuntime::on(Arc::clone(&executor));
            smol::block_on(executor.run(case(Arc::new(runtime))));
        },
        threads
    );
}

mod the_simulator {
    use conveyor_testkit::runtime_suite::Case;
    use conveyor_testkit::{for_seeds, simulate};

    conveyor_testkit::runtime_suite!(|case: Case| for_seeds(0..20, |seed| {
        simulate(seed, |sim| case(sim.runtime()));
    }));
}
