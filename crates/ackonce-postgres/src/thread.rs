//! The store's own thread: it drives the connections that claims and settlements go over.
//!
//! A connection of tokio-postgres is a task that somebody must poll. On the caller's runtime a handler that
//! blocks would keep the heartbeat's answers in the socket until the lease is gone; here it cannot.

use std::future::Future;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

type Job = BoxFuture<'static, ()>;

/// The callers' end. When all of them are dropped, the thread finishes what it was given and closes the
/// connections.
#[derive(Debug, Clone)]
pub(crate) struct Thread {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Thread {
    pub(crate) fn start() -> Result<Self> {
        let failed = |e| {
            Error::new(ErrorKind::Unavailable, "postgres: the store's thread cannot be started")
                .with_source(e)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (jobs, queue) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("ackonce-postgres".into())
            .spawn(move || runtime.block_on(work(queue)))
            .map_err(failed)?;
        Ok(Self { jobs })
    }

    /// Runs it there. A caller that stops waiting leaves it under way, unless it says itself that it need not be
    /// begun any more: it is given what tells.
    pub(crate) async fn call<T, F>(&self, job: impl FnOnce(Waiting<T>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.spawn(job(Waiting(reply)))?;
        answer.await.unwrap_or_else(|_| Err(ended().with_repeat(Repeat::Unknown)))
    }

    /// Runs it there, waited for by nobody.
    pub(crate) fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.jobs.send(Box::pin(job)).map_err(|_| ended().with_repeat(Repeat::Safe))
    }
}

/// Somebody who waits for an answer.
pub(crate) struct Waiting<T>(oneshot::Sender<Result<T>>);

impl<T> Waiting<T> {
    pub(crate) fn has_gone(&self) -> bool {
        self.0.is_closed()
    }

    pub(crate) fn answer(self, answer: Result<T>) {
        let _ = self.0.send(answer);
    }
}

async fn work(mut queue: mpsc::UnboundedReceiver<Job>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            job = queue.recv() => match job {
                Some(job) => drop(running.spawn(job)),
                None => break,
            },
            // A panic shows itself as an answer that never comes.
            Some(_) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "postgres: the store's thread has ended")
}
