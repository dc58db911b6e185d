//! A connection taken from a pool, which goes back only when it is known to be clean.

use deadpool_postgres::Object;
use deadpool_postgres::tokio_postgres::Client;

use crate::connector::Connector;

/// Holds a connection while something is under way on it. Dropped before [`release`](Self::release) (the caller
/// stopped waiting, or something failed), it closes the connection: the server then rolls back what is open, and
/// nobody is given a connection that still waits for an answer to somebody else.
#[derive(Debug)]
pub(crate) struct Leash {
    object: Option<Object>,
    /// The server notices a closed connection once its statement has ended. With this it ends it.
    cancel: Option<Connector>,
}

impl Leash {
    pub(crate) fn new(object: Object, cancel: Option<Connector>) -> Self {
        Self { object: Some(object), cancel }
    }

    /// The connection; `None` after a release.
    pub(crate) fn object(&mut self) -> Option<&mut Object> {
        self.object.as_mut()
    }

    /// The connection, to be held otherwise.
    pub(crate) fn take(mut self) -> Option<Object> {
        self.object.take()
    }

    /// Gives the connection back: no transaction is open on it, no answer outstanding.
    pub(crate) fn release(mut self) {
        drop(self.object.take());
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if let (Some(connector), Ok(runtime)) = (&self.cancel, tokio::runtime::Handle::try_current()) {
            let client: &Client = &object;
            runtime.spawn(connector.cancel(client.cancel_token()));
        }
        drop(Object::take(object));
    }
}
