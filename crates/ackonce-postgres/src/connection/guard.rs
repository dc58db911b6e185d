//! A guard that returns a connection to its pool only if the connection is clean.

use ackonce::{Error, ErrorKind, Result};
use deadpool_postgres::Object;
use deadpool_postgres::tokio_postgres::Client;

use super::Connector;

/// Holds a connection while a statement runs on it. Dropped before [`release`](Self::release) (the caller
/// stopped waiting, or a step failed), it closes the connection: the server then rolls back the open transaction, and
/// no other caller gets a connection with an outstanding answer.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    object: Option<Object>,
    /// Cancels the statement; the server notices a closed connection only after the statement has ended.
    cancel: Option<Connector>,
}

impl ConnectionGuard {
    pub(crate) fn new(object: Object, cancel: Option<Connector>) -> Self {
        Self { object: Some(object), cancel }
    }

    /// The connection.
    pub(crate) fn object(&mut self) -> Result<&mut Object> {
        self.object.as_mut().ok_or_else(gone)
    }

    /// Takes the connection out of the guard.
    pub(crate) fn take(mut self) -> Result<Object> {
        self.object.take().ok_or_else(gone)
    }

    /// Gives the connection back: no transaction is open on it, no answer outstanding.
    pub(crate) fn release(mut self) {
        drop(self.object.take());
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if let (Some(connector), Ok(runtime)) = (&self.cancel, tokio::runtime::Handle::try_current()) {
            let client: &Client = &object;
            runtime.spawn(connector.cancel(client.cancel_token()));
        }
        drop(Object::take(object));
    }
}

/// The error of a connection that was returned while in use, which is a bug of this crate.
fn gone() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: the connection is gone")
}
