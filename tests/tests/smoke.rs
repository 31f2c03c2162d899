//! smoke
#![allow(missing_docs)]
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Definition, Error};
use conveyor_testkit::simulate;

struct Log(Arc<Mutex<Vec<u32>>>);
impl Worker for Log {
    fn define(self: Arc<Self>, d: &mut Definition) {
        let log = self.0.clone();
        d.consume("log", move |n: u32, ctx: Context| {
            let log = log.clone();
            async move {
                ctx.sleep(Duration::from_millis(5)).await;
                log.lock().unwrap().push(n);
                Ok::<_, Error>(())
            }
        });
    }
}

#[test]
fn smoke() {
    simulate(1, |sim| async move {
        let log = Arc::new(Mutex::new(Vec::new()));
        let manager = Manager::builder()
            .runtime(sim.runtime())
            .consumers(2)
            .register(Log(log.clone()))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let mut receipts = vec![];
        for n in 0..20u32 {
            receipts.push(manager.enqueue(Task::new("log", n)).await.unwrap());
        }
        for r in &receipts {
            assert_eq!(r.wait().await.unwrap(), End::Succeeded);
        }
        let d = manager
            .enqueue(Task::new("log", 99u32).delay(Duration::from_secs(3600)))
            .await
            .unwrap();
        assert_eq!(d.wait().await.unwrap(), End::Succeeded);
        println!("{:?} {:?} {:?}", log.lock().unwrap(), manager.metrics(), sim.elapsed());
        let report = manager.shutdown(Duration::from_secs(5)).await.unwrap();
        println!("{report:?}");
        drop((manager, receipts, d));
        sim.run_until_idle().await;
        println!("left {:?}", sim.describe_tasks());
    });
}
