//! `#[worker]` on a function.

use std::sync::Arc;

use conveyor::{Context, Outcome, State, worker};
use conveyor_core::error::Retryable;
use conveyor_core::outcome::OutcomeKind;
use conveyor_core::payload::{AnyPayload, Encoded};
use futures::executor::block_on;
use serde::{Deserialize, Serialize};

use super::engine::{Ran, kind, run, run_on, with_state};

/// What is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Email {
    to: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct NotClone(u32);

trait Mailer: Send + Sync {
    fn host(&self) -> &'static str;
}

struct Local;

impl Mailer for Local {
    fn host(&self) -> &'static str {
        "localhost"
    }
}

fn json(text: &str) -> AnyPayload {
    AnyPayload::from_encoded(Encoded { codec: "json".into(), bytes: text.as_bytes().into() })
}

fn email(to: &str) -> Email {
    Email { to: to.to_owned() }
}

#[worker]
async fn send_email(email: Email, smtp: State<String>, ctx: Context) -> Result<(), String> {
    assert_eq!(*ctx.kind(), send_email::KIND);
    if email.to == *smtp { Ok(()) } else { Err(format!("{} is not {}", email.to, *smtp)) }
}

#[test]
fn a_function_is_a_worker_of_its_name() {
    let defined = kind(send_email);
    assert_eq!(defined.kind.as_str(), "send_email");
    assert_eq!(defined.requires.len(), 1);
    assert_eq!(defined.requires[0].type_name, "alloc::string::String");
    let task = send_email.task(email("ada")).delay(super::engine::seconds(1));
    assert_eq!((task.kind(), task.payload().to.as_str()), (&send_email::KIND, "ada"));
    assert_eq!(format!("{send_email:?}"), "send_email");
}

#[test]
fn its_handler_gets_payload_states_and_context() {
    let defined = kind(send_email);
    let host = || with_state(State::new("ada".to_owned()));
    assert!(run_on(host(), &defined, AnyPayload::new(email("ada"))).succeeded());
    let failure = run_on(host(), &defined, AnyPayload::new(email("bob"))).failure();
    assert_eq!(failure.message, "bob is not ada");
    assert_eq!(failure.retry, Retryable::ByPolicy);
}

#[test]
fn a_payload_that_does_not_decode_is_reported_before_the_handler_runs() {
    let ran = run(&kind(send_email), AnyPayload::new(7u8));
    assert!(ran.parked(), "{ran:?}");
}

#[worker]
async fn bare() {}

#[test]
fn without_a_payload_a_task_has_none_and_another_is_not_lost() {
    assert_eq!(*bare.task().payload(), ());
    assert!(run(&kind(bare), AnyPayload::new(())).succeeded());
    assert!(run(&kind(bare), json("null")).succeeded());
    assert!(run(&kind(bare), json("\"data of a newer version\"")).parked());
}

#[worker]
async fn any_order(State(mailer): State<dyn Mailer>, _: Context, Email { to }: Email) -> Outcome {
    Outcome::cancel(format!("{to} at {}", mailer.host()))
}

#[test]
fn parameters_come_in_any_order_and_as_patterns() {
    let host = with_state(State::<dyn Mailer>(Arc::new(Local)));
    let ran = run_on(host, &kind(any_order), AnyPayload::new(email("ada")));
    assert!(matches!(ran, Ran::Ended(OutcomeKind::Cancel(why)) if why == "ada at localhost"));
}

#[worker]
async fn not_clone(payload: NotClone) -> Result<(), String> {
    if payload.0 == 7 { Ok(()) } else { Err(payload.0.to_string()) }
}

#[test]
fn a_payload_without_clone_is_copied_by_its_codec() {
    assert!(run(&kind(not_clone), AnyPayload::new(NotClone(7))).succeeded());
    assert!(run(&kind(not_clone), json("7")).succeeded());
    assert!(run(&kind(not_clone), json("\"seven\"")).parked());
}

#[worker]
async fn borrowed(payload: &NotClone, expected: State<usize>) -> Result<(), String> {
    let address = std::ptr::from_ref(payload) as usize;
    (address == *expected).then_some(()).ok_or_else(|| "it was copied".to_owned())
}

#[test]
fn a_borrowed_payload_is_the_stores_own() {
    let payload = AnyPayload::new(NotClone(7));
    let address = std::ptr::from_ref(payload.downcast_ref::<NotClone>().unwrap()) as usize;
    let host = with_state(State::new(address));
    assert!(run_on(host, &kind(borrowed), payload).succeeded());
    assert_eq!(borrowed.task(NotClone(1)).payload().0, 1);
}

#[worker(blocking)]
fn blocking(payload: &NotClone, ctx: Context, caller: State<std::thread::ThreadId>) -> Outcome {
    assert_ne!(std::thread::current().id(), *caller);
    Outcome::cancel(format!("{} of {}", payload.0, ctx.kind()))
}

#[test]
fn a_blocking_function_runs_where_it_may_block() {
    let host = with_state(State::new(std::thread::current().id()));
    let ran = run_on(host, &kind(blocking), AnyPayload::new(NotClone(7)));
    assert!(matches!(ran, Ran::Ended(OutcomeKind::Cancel(why)) if why == "7 of blocking"));
}

#[test]
fn call_needs_no_engine() {
    assert!(block_on(borrowed::call(&NotClone(1), State::new(0))).is_err());
    let refused = block_on(with_numbers::call(3, State::new(4)));
    assert_eq!(refused, Err("7".to_owned()));
}

#[worker]
async fn with_numbers(left: u32, State(right): State<u32>) -> Result<(), String> {
    Err((left + *right).to_string())
}

#[worker]
async fn again(left: u32, seen: State<std::sync::Mutex<Vec<u32>>>) -> Result<(), String> {
    seen.lock().expect("not poisoned").push(left);
    if left > 0 {
        let next = again.task(left - 1);
        assert_eq!(*next.kind(), again::KIND);
        Box::pin(again::call(*next.payload(), seen)).await?;
    }
    Ok(())
}

#[test]
fn a_body_may_name_its_own_worker() {
    let seen = State::new(std::sync::Mutex::new(Vec::<u32>::new()));
    assert!(run_on(with_state(seen.clone()), &kind(again), AnyPayload::new(2u32)).succeeded());
    assert_eq!(*seen.lock().unwrap(), [2, 1, 0]);
}
