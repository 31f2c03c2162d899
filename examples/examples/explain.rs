//! Asking what became of tasks: which there are, and why one has not run yet or ran twice.

use std::time::Duration;

use conveyor::prelude::*;

/// Fails at first, as what it depends on does now and then.
#[conveyor::worker(queue = "mail", retries = 3, backoff = "10ms")]
async fn send_email(to: String, ctx: Context) -> Result<(), String> {
    if ctx.attempt() == 1 {
        return Err(format!("the mail server is too busy for {to}"));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let manager = Manager::builder().register(send_email).build()?;
    manager.start().await?;

    let sent = manager.enqueue(send_email.task("ada@example.com".to_owned())).await?;
    sent.wait().await?;
    println!("{}\n", manager.explain(sent.id()).await?);

    let later = send_email.task("bob@example.com".to_owned()).delay(Duration::from_secs(3600));
    let later = manager.enqueue(later).await?;
    println!("{}\n", manager.explain(later.id()).await?);

    manager.pause("mail").await?;
    let held = manager.enqueue(send_email.task("cyd@example.com".to_owned())).await?;
    println!("{}\n", manager.explain(held.id()).await?);

    // All that waits, a page at a time.
    for state in ["queued", "scheduled"] {
        let mut pages = manager.inspect().queue("mail").state(state).page_size(50);
        while let Some(tasks) = pages.next_page().await? {
            println!("{} {state} in this page, the first of kind {}", tasks.len(), tasks[0].kind);
        }
    }
    // What is asked for wrongly is told with the way out.
    if let Err(error) = manager.inspect().kind("send_mail").page().await {
        println!("{error}");
    }
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
