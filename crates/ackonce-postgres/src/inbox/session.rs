//! An inbox's view of a driver: statements as text, and the handler in their midst.

use std::any::Any;
use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;

use ackonce::{Context, Failure};
use async_trait::async_trait;
use futures_util::FutureExt;

use super::outcome::InboxOutcome;
use crate::sql_error::SqlError;

/// The result of a handler, or the payload of its panic.
pub type HandlerRun<T> = Result<Result<T, Failure>, Box<dyn Any + Send>>;

/// A transaction of a driver that sends the statements of an inbox or a guard. Their texts live as long as the program, their
/// parameters and answers are text, so no driver has to know a type of PostgreSQL.
#[async_trait]
pub trait SqlSession: Send {
    /// True if a nested transaction that the handler leaves open cannot be seen after the COMMIT: a message alone then has
    /// a savepoint, too, whose release ends that transaction, so that the COMMIT fails. Also true where the driver hides
    /// SQLSTATE: the release then shows a failure that the handler passed over.
    const NEEDS_SAVEPOINT: bool = false;

    /// Sends statements without parameters.
    async fn execute(&mut self, text: &'static str) -> Result<(), SqlError>;

    /// Sends a statement with parameters of text; returns the only column of its rows, `line`.
    async fn query(&mut self, text: &'static str, params: &[&str]) -> Result<Vec<String>, SqlError>;

    /// The driver's error, if `cause` is one: a handler passed it on, as it is or deep in an error of its own.
    fn read_error(cause: &(dyn StdError + 'static)) -> Option<SqlError>;
}

/// A transaction that runs an inbox's handler for messages `M`.
#[async_trait]
pub trait InboxSession<M: Send + 'static>: SqlSession {
    /// The handler's return value.
    type Outcome: InboxOutcome + Send;

    /// True if a savepoint can be sent together with the handler's first statement, by
    /// [`handle_along`](Self::handle_along).
    const SENDS_AHEAD: bool = false;

    /// Runs the handler.
    async fn handle(&mut self, cx: Context, message: M) -> Result<Self::Outcome, Failure>;

    /// Reads the claims, after the texts of [`BEGIN`](super::BEGIN) or [`SET_UP`](super::SET_UP) were sent.
    async fn look(&mut self, text: &'static str, params: &[&str]) -> Result<Vec<String>, SqlError> {
        self.query(text, params).await
    }

    /// Sends the savepoint and runs the handler at once. There is no run if the savepoint was refused and the handler dropped.
    async fn handle_along(
        &mut self,
        savepoint: &'static str,
        cx: Context,
        message: M,
    ) -> (Result<(), SqlError>, Option<HandlerRun<Self::Outcome>>) {
        match self.execute(savepoint).await {
            Ok(()) => (Ok(()), Some(AssertUnwindSafe(self.handle(cx, message)).catch_unwind().await)),
            Err(error) => (Err(error), None),
        }
    }
}
