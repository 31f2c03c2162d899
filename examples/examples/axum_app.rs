//! A web service that enqueues from its handlers, and shuts down in the right order: first no new
//! requests, then no new tasks, then what runs is finished.
//!
//! `cargo run --example axum_app` listens on the port in `PORT`, or any free one; with `demo` it
//! sends itself a few requests and stops.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use conveyor::prelude::*;
use conveyor::{EnqueueError, TaskId, WaitError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Serialize, Deserialize)]
struct Email {
    to: String,
}

#[conveyor::worker(retries = 3, key = |email| format!("welcome:{}", email.to))]
async fn send_email(email: Email, ctx: Context) -> conveyor::Result<()> {
    ctx.sleep(Duration::from_millis(50)).await;
    println!("sent a mail to {}", email.to);
    Ok(())
}

/// `POST /emails`: 202 with the task's id, or 409 while one to this address is on its way.
async fn enqueue(Shared(manager): Shared<Manager>, Json(email): Json<Email>) -> Response {
    match manager.enqueue(send_email.task(email)).await {
        Ok(receipt) => (StatusCode::ACCEPTED, Json(json!({ "task": receipt.id().to_string() })))
            .into_response(),
        Err(error @ EnqueueError::Duplicate { .. }) => refuse(StatusCode::CONFLICT, &error),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

/// How long a request waits for the end of a task.
const PATIENCE: Duration = Duration::from_secs(10);

/// `GET /emails/{task}`: how the task ended. The request waits for it, but not for ever: a task may
/// be retried for hours, and a request that waits holds up the shutdown.
async fn end(Shared(manager): Shared<Manager>, Path(task): Path<String>) -> Response {
    let task: TaskId = match task.parse() {
        Ok(task) => task,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
    };
    match tokio::time::timeout(PATIENCE, manager.wait(task)).await {
        Err(_) => Json(json!({ "state": "live" })).into_response(),
        Ok(Ok(end)) => Json(json!({ "state": "ended", "end": end.to_string() })).into_response(),
        Ok(Err(error @ WaitError::Unknown { .. })) => refuse(StatusCode::NOT_FOUND, &error),
        Ok(Err(error)) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

/// `GET /metrics`.
async fn metrics(Shared(manager): Shared<Manager>) -> impl IntoResponse {
    let metrics = manager.metrics();
    Json(
        json!({ "queued": metrics.queued, "active": metrics.active, "processed": metrics.processed }),
    )
}

fn refuse(status: StatusCode, why: &dyn std::error::Error) -> Response {
    (status, Json(json!({ "error": why.to_string() }))).into_response()
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let manager = Manager::builder().register(send_email).build()?;
    manager.start().await?;

    let app = Router::new()
        .route("/emails", post(enqueue))
        .route("/emails/{task}", get(end))
        .route("/metrics", get(metrics))
        .with_state(manager.clone());
    let port = std::env::var("PORT").unwrap_or_else(|_| "0".to_owned());
    let port: u16 = port.parse().map_err(|error| format!("PORT is {port:?}: {error}"))?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");

    let demo = std::env::args().nth(1).as_deref() == Some("demo");
    let stop = async move {
        if demo {
            if let Err(error) = send_requests(address).await {
                eprintln!("the demo failed: {error}");
            }
        } else if let Err(error) = asked_to_stop().await {
            eprintln!("cannot listen for signals: {error}");
        }
    };
    // First: requests under way are answered, and no more are taken.
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    println!("no more requests");
    // Then: nobody can enqueue any more, so what runs is all there is.
    let report = manager.shutdown(Duration::from_secs(10)).await?;
    println!("no more tasks: {report:?}, {} processed", manager.metrics().processed);
    Ok(())
}

/// Waits for Ctrl-C, or for the SIGTERM by which a service manager or a container is stopped.
async fn asked_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Four requests by hand, as a browser would send them.
async fn send_requests(address: SocketAddr) -> conveyor::Result<()> {
    let body = r#"{"to":"ada@example.com"}"#;
    let accepted = request(address, "POST", "/emails", body).await?;
    println!("-> {accepted}");
    println!("-> {}", request(address, "POST", "/emails", body).await?);
    let task = accepted.split('"').nth(3).unwrap_or_default().to_owned();
    println!("-> {}", request(address, "GET", &format!("/emails/{task}"), "").await?);
    println!("-> {}", request(address, "GET", "/metrics", "").await?);
    Ok(())
}

async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> conveyor::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok(format!("{status} {body}"))
}
