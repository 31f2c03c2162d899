//! Functions that cannot be workers.

use conveyor::{Context, State, worker};

#[worker]
fn not_async() {}

#[worker(blocking)]
async fn blocking_and_async() {}

#[worker]
async fn generic<T: Send>(_payload: T) {}

#[worker]
async fn lifetime<'a>(_payload: &'a String) {}

#[worker]
async fn for_ever(_payload: &'static String) {}

#[worker]
async fn with_clause()
where
    u8: Copy,
{
}

#[worker]
async fn anonymous(_payload: impl Into<String>) {}

#[worker]
async fn receiver(&self) {}

#[worker]
async fn two_payloads(_first: Vec<u8>, _state: State<u8>, _ctx: Context, _second: &String) {}

#[worker]
async fn own_name(own_name: u8) {}

#[worker]
unsafe extern "C" fn foreign() {}

#[worker(blocking)]
const fn constant() {}

#[worker]
async fn mutable(_payload: &mut String) {}

#[worker]
async fn unsized_text(_payload: &str) {}

#[worker]
async fn unsized_list(_payload: &[u8]) {}

#[worker]
async fn by_reference(_ctx: &Context, _state: State) {}

#[worker]
async fn with_a_cfg(#[cfg(test)] _payload: u8) {}

#[worker(key = |payload| payload, retry_if = |error| true)]
async fn nothing_to_judge() {}

#[worker]
struct NotAFunction;

fn main() {
    let _ = (not_async.task(), two_payloads.task(Vec::new()), NotAFunction);
}
