//! `#[derive(Task)]`.

use conveyor::{IntoTask, Priority, Task, TaskType, worker};
use conveyor_core::payload::AnyPayload;
use serde::{Deserialize, Serialize};

use super::engine::{kind, kinds};

/// A payload that two services share.
#[derive(Clone, Serialize, Deserialize, conveyor::Task)]
#[task(kind = "email.send", queue = "mail", priority = high, key = |email| &email.to)]
pub struct Email {
    to: String,
}

#[derive(Serialize, Deserialize, conveyor::Task)]
#[task(kind = "plain")]
enum Plain {
    One,
}

fn email() -> Email {
    Email { to: "ada".to_owned() }
}

#[test]
fn a_derived_type_is_a_task_of_its_kind() {
    assert_eq!(Email::KIND.as_str(), "email.send");
    let task = email().into_task();
    assert_eq!(task.kind.as_str(), "email.send");
    assert_eq!(task.set.queue.unwrap().as_str(), "mail");
    assert_eq!(task.set.priority, Some(Priority::HIGH));
    assert_eq!(task.set.key.unwrap().as_str(), "ada");
    let task = Task::from(Plain::One).key("k").erase();
    assert_eq!((task.kind.as_str(), task.set.priority), ("plain", None));
}

#[worker(queue = "other", priority = low, timeout = "1s")]
async fn send(_email: Email) {}

#[worker(kind = "email.send")]
async fn send_too(_email: &Email) {}

#[test]
fn a_worker_over_it_takes_its_kind_and_what_it_says() {
    assert_eq!(send::KIND, Email::KIND);
    assert_eq!(send_too::KIND, Email::KIND);
    let defined = kind(send);
    assert_eq!(defined.kind, Email::KIND);
    assert_eq!(defined.settings.queue.unwrap().as_str(), "mail");
    assert_eq!(defined.settings.priority, Some(Priority::HIGH));
    let key = defined.key.unwrap()(&AnyPayload::new(email()));
    assert_eq!(key.unwrap().unwrap().as_str(), "ada");
    let set = send.task(email()).erase().set;
    assert_eq!((set.queue.unwrap().as_str(), set.key.unwrap().as_str()), ("mail", "ada"));
}

struct Mailer;

#[worker]
impl Mailer {
    #[consume]
    async fn plain(&self, _plain: &Plain) {}

    async fn consume(&self, _email: Email) {}
}

#[test]
fn so_does_a_method() {
    let names: Vec<_> = kinds(Mailer).iter().map(|kind| kind.kind.as_str().to_owned()).collect();
    assert_eq!(names, ["plain", "email.send"]);
    assert_eq!(Mailer::task(email()).kind(), &Email::KIND);
}
