//! What a `produce` method may return.

use conveyor_core::{AnyTask, Error, IntoTask, Payload};

use super::KindOf;

/// What a `produce` method may return: tasks, or a result of them.
#[diagnostic::on_unimplemented(
    message = "`produce` cannot return `{Self}`",
    label = "returned by this `produce`",
    note = "return `Vec<T>`, or `Result<Vec<T>, E>` where `E` is `conveyor::Error`, a `String`, or any `std::error::Error + Send + Sync`"
)]
pub trait IntoProduced {
    /// A task, or the payload of one.
    type Item;

    /// The tasks.
    ///
    /// # Errors
    /// What the method failed with.
    fn into_produced(self) -> Result<Vec<Self::Item>, Error>;
}

impl<T> IntoProduced for Vec<T> {
    type Item = T;

    fn into_produced(self) -> Result<Vec<T>, Error> {
        Ok(self)
    }
}

impl<T, E: Into<Error>> IntoProduced for Result<Vec<T>, E> {
    type Item = T;

    fn into_produced(self) -> Result<Vec<T>, Error> {
        self.map_err(Into::into)
    }
}

/// What a worker of one kind produced: a payload of that kind, or by [`ChildByItself`] a task.
#[derive(Debug)]
pub struct Child<'a, P: 'static, T>(pub &'a KindOf<P>, pub T);

impl<P: Payload> Child<'_, P, P> {
    /// A task of the kind.
    #[must_use]
    pub fn into_task(self) -> AnyTask {
        self.0.task(self.1).erase()
    }
}

/// See [`Child`].
pub trait ChildByItself {
    /// The task that it is.
    fn into_task(self) -> AnyTask;
}

impl<P, T: IntoTask> ChildByItself for Child<'_, P, T> {
    fn into_task(self) -> AnyTask {
        self.1.into_task()
    }
}
