//! The store's own thread, which drives the connection.
//!
//! A handler may block the user's runtime. The connection must be driven all the same, or the core's
//! heartbeat, which runs on its own thread, would wait for the handler and lose its lease. One thread is also the
//! faster way to drive one connection: no work moves between threads.

use std::future::Future;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    handle: Handle,
    /// Dropped with this; the thread waits for that.
    _alive: oneshot::Sender<()>,
}

impl Thread {
    pub(crate) fn start() -> Result<Self> {
        let failed = |e: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "redis: the connection's thread could not be started")
                .with_repeat(Repeat::Safe)
                .with_source(e)
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (_alive, ended) = oneshot::channel::<()>();
        let run = move || {
            let _ = runtime.block_on(ended);
            // A host name may still be being resolved; nothing waits for it any more.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("ackonce-redis".into()).spawn(run).map_err(failed)?;
        Ok(Self { handle, _alive })
    }

    /// Runs a request on the thread, to its end, even if the caller is gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.handle.spawn(task).await.unwrap_or_else(|e| {
            Err(Error::new(ErrorKind::Unavailable, "redis: the connection's thread has ended").with_source(e))
        })
    }
}
