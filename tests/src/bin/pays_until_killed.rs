//! A process that pays, and comes to a stop in between, to be killed there:
//! `pays_until_killed URL POINT`.
//!
//! It says `there` when the handler of the task with that key has come to that [`Point`](conveyor_tests::database::Point), and
//! goes no further.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use conveyor::Manager;
use conveyor_tests::database::{Database, Happens, InFile, OnServer, pays};

/// How long claims hold.
const LEASE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let [url, point] = [1, 2].map(|at| std::env::args().nth(at).unwrap_or_default());
    if url.starts_with("postgres:") {
        work(OnServer::open(&url).await?, point).await
    } else {
        work(InFile::open(&url).await?, point).await
    }
}

async fn work<D: Database>(database: D, point: String) -> conveyor::Result<()> {
    let stops: Arc<Happens> = Arc::new(move |at, ctx| {
        // What others have left may come first, and goes through.
        let is_mine = ctx.key().is_some_and(|key| key.as_str() == point);
        let is_there = is_mine && format!("{at:?}") == point;
        Box::pin(async move {
            if is_there {
                let mut out = std::io::stdout();
                writeln!(out, "there").and_then(|()| out.flush())?;
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let manager = Manager::builder()
        .store(database.store())
        .lease(LEASE)
        .register(pays(&database, stops))
        .build()?;
    manager.start().await?;
    std::future::pending().await
}
