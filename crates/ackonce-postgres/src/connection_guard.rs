//! A guard that returns a connection to its pool only if the connection is clean.

use deadpool_postgres::Object;
use deadpool_postgres::tokio_postgres::Client;

use crate::connector::Connector;

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

    /// The connection; `None` after a release.
    pub(crate) fn object(&mut self) -> Option<&mut Object> {
        self.object.as_mut()
    }

    /// Takes the connection out of the guard.
    pub(crate) fn take(mut self) -> Option<Object> {
        self.object.take()
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
