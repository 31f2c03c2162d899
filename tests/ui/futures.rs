//! Futures that cannot move between threads.

use std::rc::Rc;

use conveyor::{Context, worker};

#[worker]
async fn not_send(ctx: Context) -> Result<(), String> {
    let shared = Rc::new(1);
    ctx.cancelled().await;
    drop(shared);
    Ok(())
}

struct Feeds;

#[worker]
impl Feeds {
    async fn consume(&self, _payload: u8) {}

    async fn produce(&self, ctx: Context) -> Vec<u8> {
        let shared = Rc::new(1);
        ctx.cancelled().await;
        vec![*shared]
    }
}

fn main() {}
