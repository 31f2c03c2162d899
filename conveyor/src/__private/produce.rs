//! What a `produce` method may return.

use conveyor_core::{AnyTask, Error, IntoTask, Payload};

use super::KindOf;

/// What a `produce` method may return: a list of `T`, tasks or their payloads, or a result of one.
#[diagnostic::on_unimplemented(
    message = "`produce` cannot return `{Self}`",
    label = "returned by this `produce`",
    note = "return `Vec<T>`, or `Result<Vec<T>, E>` where `E` is `conveyor::Error`, a `String`, or any `std::error::Error + Send + Sync`"
)]
pub trait IntoProduced<T> {
    /// The tasks.
    ///
    /// # Errors
    /// What the method failed with.
    fn into_produced(self) -> Result<Vec<T>, Error>;
}

impl<T> IntoProduced<T> for Vec<T> {
    fn into_produced(self) -> Result<Vec<T>, Error> {
        Ok(self)
    }
}

impl<T, E: Into<Error>> IntoProduced<T> for Result<Vec<T>, E> {
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

/// What `produce` may put into its list, where tasks have the payload `P`.
#[diagnostic::on_unimplemented(
    message = "`produce` cannot make a task of `{Self}`",
    label = "its elements are neither payloads of `consume` nor tasks",
    note = "return a list of `{P}`, which `consume` takes, or of tasks, such as `conveyor::Task<{P}>` or `conveyor::AnyTask`"
)]
pub trait TaskOrPayload<P> {}

impl<P> TaskOrPayload<P> for P {}

/// The last resort of [`Child`], by an autoref: says what is wrong with an element.
pub trait NeitherTaskNorPayload<P, T> {
    /// Never called.
    fn into_task(self) -> AnyTask
    where
        T: TaskOrPayload<P>;
}

impl<P, T> NeitherTaskNorPayload<P, T> for &Child<'_, P, T> {
    fn into_task(self) -> AnyTask
    where
        T: TaskOrPayload<P>,
    {
        unreachable!("an element that is neither is refused")
    }
}
