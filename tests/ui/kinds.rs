//! A kind that is not the one that the payload's type derives.

use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, conveyor::Task)]
#[task(kind = "email.send")]
struct Email;

#[conveyor::worker(kind = "send.email")]
async fn send(_email: Email) {}

fn main() {}
