//! Types that cannot derive `Task`.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, conveyor::Task)]
struct NoKind;

#[derive(Serialize, Deserialize, conveyor::Task)]
#[task(kind = "", timeout = "5s", quue = "q")]
struct Wrong;

#[derive(Serialize, Deserialize, conveyor::Task)]
#[task = "kind"]
struct NotAList;

#[derive(Serialize, Deserialize, conveyor::Task)]
#[task(kind = "twice")]
#[task(queue = "q")]
struct Twice;

#[derive(Serialize, Deserialize, conveyor::Task)]
#[task(kind = "generic")]
struct Generic<T>(T);

#[derive(Serialize, Deserialize, conveyor::Task)]
#[task(kind = "unfinished", key = |unfinished|)]
struct Unfinished;

fn main() {
    let _ = conveyor::Task::from(NoKind);
}
