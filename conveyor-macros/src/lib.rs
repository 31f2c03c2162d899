//! The attribute and derive macros of Conveyor; use them by the facade crate `conveyor`.
//!
//! A macro parses (`attribute`, `handler`, `parameters`, `block`), checks by core's own rules
//! (`schedule`, `duration`, `keys`), and expands (`expand`); after a mistake it writes a stub
//! (`fallback`), so that one mistake gives one message. Bodies are not looked at.
#![forbid(unsafe_code)]

mod attribute;
mod block;
mod derive;
mod duration;
mod errors;
mod expand;
mod fallback;
mod function;
mod handler;
mod impl_block;
mod keys;
mod parameters;
mod schedule;
mod target;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a worker of a function or an `impl` block.
///
/// # On a function
///
/// ```
/// use conveyor::{Context, State, worker};
/// # use serde::{Serialize, Deserialize};
/// # #[derive(Clone, Serialize, Deserialize)] struct Email { to: String }
/// # struct Smtp;
/// # impl Smtp { async fn send(&self, _: &Email) -> Result<(), std::io::Error> { Ok(()) } }
///
/// /// Sends an email.
/// #[worker(queue = "mail", retries = 5, backoff = "1s..10m", timeout = "30s")]
/// async fn send_email(email: Email, smtp: State<Smtp>, ctx: Context) -> conveyor::Result<()> {
///     println!("attempt {} at {}", ctx.attempt(), email.to);
///     smtp.send(&email).await?;
///     Ok(())
/// }
///
/// let task = send_email.task(Email { to: "ada@example.com".to_owned() }).key("welcome:ada");
/// assert_eq!(*task.kind(), send_email::KIND);
/// ```
///
/// The function becomes a worker of its name: a unit struct to be registered with a manager, with
/// the function's visibility, documentation and `#[cfg]`s. It has
///
/// - `send_email.task(payload)`, a `Task<Email>` for it (`.task()` if it takes no payload);
/// - `send_email::KIND`, the kind of its tasks;
/// - `send_email::call(…)`, the function itself, for unit tests: with `State::new(fake)`, and
///   without a manager.
///
/// A unit struct occupies its name among the types and among the values: where it is in scope, no
/// parameter, closure's parameter or variable can have that name. A verb, such as `send_email`, is
/// seldom in anybody's way; a noun, such as `email`, is.
///
/// **Parameters** come in any order, and are told apart by the last segment of their types:
///
/// | type | value |
/// |---|---|
/// | `Context` | the attempt's context |
/// | `State<T>`, also `State<dyn Trait>`, also as a pattern `State(x): State<T>` | what the manager was given by `.state(…)`; `build()` fails if it is missing |
/// | anything else, `T` | the payload, at most one; a clone of the original, or a copy by the codec if it is not `Clone` |
/// | anything else, `&T` | the payload, borrowed: nothing is copied |
///
/// **It returns** `()`, an `Outcome`, or a `Result` of either with any error: `conveyor::Error`,
/// a `String`, whatever implements `std::error::Error + Send + Sync`.
///
/// **It is async.** One that is not is marked `blocking`, and runs on a thread where it may block:
///
/// ```
/// use conveyor::{State, worker};
/// # struct Images;
///
/// #[worker(blocking, concurrency = 2)]
/// fn shrink(image: &Vec<u8>, _images: State<Images>) -> Result<(), String> {
///     if image.is_empty() { Err("nothing to shrink".to_owned()) } else { Ok(()) }
/// }
/// assert!(shrink::call(&vec![], State::new(Images)).is_err());
/// ```
///
/// **Other attributes** stay with the function, which keeps its own name: the span of
/// `#[tracing::instrument]` is `send_email`.
///
/// # Keys
///
/// Every value is checked when the macro runs, and an error points at it. What is not said, the
/// manager's defaults decide.
///
/// | key | for example | |
/// |---|---|---|
/// | `kind` | `kind = "email.send"` | the name of its tasks' kind; by default that of the payload's type if it derives `Task`, else the function's or the type's name |
/// | `queue` | `queue = "mail"` | the queue of its tasks |
/// | `interval` | `interval = "5s"` | makes a task at every tick, the first at the start; at least 1 ms |
/// | `cron` | `cron = "30 9 * * MON-FRI"` | makes a task when the expression says so: minute, hour, day, month, weekday, with seconds before them if there are six |
/// | `timezone` | `timezone = "Europe/Berlin"` | where `cron` is read; by default UTC |
/// | `priority` | `priority = high`, `priority = -5` | `low` (−10), `normal` (0), `high` (10), `critical` (20), or a number |
/// | `retries` | `retries = 5` | attempts after the first |
/// | `backoff` | `backoff = "1s..10m"`, `"5s"`, `"none"`, <code>\|failures\| …</code> | the delay before a retry: exponential from the first to the last with full jitter, always the same, none, or what a `fn(u32) -> Duration` gives |
/// | `retry_if` | <code>retry_if = \|error\| error.is_transient()</code> | whether an error is worth a retry: a `fn(&E) -> bool` on the handler's own error type; if not, the task fails at once |
/// | `retry_on_panic` | `retry_on_panic = false` | whether a panic is retried as an error is |
/// | `timeout` | `timeout = "30s"` | how long one attempt may take |
/// | `cancel_grace` | `cancel_grace = "2s"` | how long a cancelled attempt has to return by itself |
/// | `concurrency` | `concurrency = 8` | how many of its tasks one process runs at a time |
/// | `key` | <code>key = \|email\| &email.to</code> | the dedup key of a payload: a closure that captures nothing, or a path, from `&T` to anything that implements `ToString` |
/// | `overlap` | `overlap = allow` | what happens to a tick whose predecessor's task has not ended: `skip` or `allow` |
/// | `missed` | `missed = all` | what happens to ticks that nobody was there for: `once`, `skip` or `all` |
/// | `produce_timeout` | `produce_timeout = "1m"` | the `timeout` of `produce` |
/// | `blocking` | `blocking` | the function is not async |
/// | `crate` | `crate = "path::to::conveyor"` | where the facade is, if not at `::conveyor` |
///
/// Durations are numbers with units: `500ms`, `30s`, `1m 30s`, `2h`, `1day`.
///
/// A function with a schedule takes no payload, since its ticks have none to give:
///
/// ```
/// use conveyor::worker;
///
/// #[worker(cron = "0 */5 * * * *", timezone = "Europe/Berlin", missed = skip)]
/// async fn sweep() {}
///
/// #[worker(interval = "1m 30s", priority = low)]
/// async fn refresh() -> Result<(), std::io::Error> { Ok(()) }
/// ```
///
/// # On an `impl` block
///
/// For a worker with fields, with a producer, or with several kinds.
///
/// ```
/// use conveyor::{Context, worker};
/// # use serde::{Serialize, Deserialize};
/// # #[derive(Clone, Serialize, Deserialize)] struct Feed { url: String }
///
/// struct Feeds { urls: Vec<String> }
///
/// #[worker(cron = "0 */5 * * * *", priority = low, key = |feed| &feed.url)]
/// impl Feeds {
///     async fn produce(&self) -> conveyor::Result<Vec<Feed>> {
///         Ok(self.urls.iter().map(|url| Feed { url: url.clone() }).collect())
///     }
///
///     async fn consume(&self, feed: Feed, ctx: Context) -> conveyor::Result<()> {
///         println!("{} of {}", feed.url, ctx.kind());
///         Ok(())
///     }
/// }
///
/// let task = Feeds::task(Feed { url: "https://example.com".to_owned() });
/// assert_eq!(task.kind().as_str(), "Feeds");
/// ```
///
/// - **`consume`** runs the tasks of the kind that is named like the type. `Feeds::task(payload)`
///   makes one (unless the block has a `task` of its own), as does `Feeds::CONSUME.task(payload)`.
/// - **`produce`** runs at every tick, in the worker's queue and with its priority, retries and
///   backoff. It takes no payload, and returns a `Vec`, or a `Result` of one. Each element becomes
///   a task: as it is, if it is a `Task` or an `AnyTask`; made one of `consume`'s kind, if it is the
///   payload of that. Without `interval` or `cron` the manager's default schedule is used.
/// - A worker is shared: a method takes `&self`, `self: Arc<Self>` or `self: &Arc<Self>`, or no
///   `self` at all. Other methods, constants and types stay as they are.
///
/// Several methods marked `#[consume]` are a kind each, named `Type.method`. A constant of the
/// method's name makes its tasks. `#[consume(…)]` takes the keys of its kind, the block's `#[worker]`
/// those of the schedule; a key that is written in both places is the method's, and one that is
/// only on the block is for all (`kind` as the part before the dot).
///
/// ```
/// use conveyor::{AnyTask, worker};
///
/// struct Crawler;
///
/// #[worker(interval = "1h", queue = "crawl")]
/// impl Crawler {
///     #[consume(retries = 10, timeout = "20s")]
///     async fn page(&self, url: String) -> Result<(), String> {
///         Err(format!("{url} is gone"))
///     }
///
///     #[consume(blocking)]
///     fn index(&self) {}
///
///     async fn produce(&self) -> Vec<AnyTask> {
///         vec![Self::PAGE.task("https://example.com".to_owned()).erase(), Self::INDEX.task().erase()]
///     }
/// }
/// assert_eq!(Crawler::PAGE.kind().as_str(), "Crawler.page");
/// ```
#[proc_macro_attribute]
pub fn worker(attribute: TokenStream, item: TokenStream) -> TokenStream {
    target::worker(attribute.into(), &item.into()).into()
}

/// Makes a payload type know the kind of its tasks, for a type that services share: it can be
/// enqueued by itself, and a worker that takes it takes its kind.
///
/// ```
/// use conveyor::{Task, worker};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize, Task)]
/// #[task(kind = "email.send", queue = "mail", priority = high, key = |email| &email.to)]
/// struct Email {
///     to: String,
/// }
///
/// #[worker]
/// async fn send_email(email: Email) {
///     println!("{}", email.to);
/// }
///
/// let task = Task::from(Email { to: "ada@example.com".to_owned() });
/// assert_eq!(*task.kind(), send_email::KIND);
/// ```
///
/// | key | for example | |
/// |---|---|---|
/// | `kind` | `kind = "email.send"` | the kind of its tasks; needed, since every service has to know it |
/// | `queue` | `queue = "mail"` | the queue of its tasks |
/// | `priority` | `priority = high` | `low`, `normal`, `high`, `critical`, or a number |
/// | `key` | <code>key = \|email\| &email.to</code> | the dedup key: a closure that captures nothing, or a path, from `&Self` to anything that implements `ToString` |
/// | `crate` | `crate = "path::to::conveyor"` | where the facade is, if not at `::conveyor` |
///
/// A task's own settings override these, and these override what the worker's attribute says.
#[proc_macro_derive(Task, attributes(task))]
pub fn task(item: TokenStream) -> TokenStream {
    derive::task(&parse_macro_input!(item as DeriveInput)).into()
}
