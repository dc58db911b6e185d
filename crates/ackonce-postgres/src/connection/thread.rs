//! The store's own thread, which drives the connections for claims and settlements.
//!
//! A connection of tokio-postgres is a task that a runtime must poll. On the caller's runtime a handler that
//! blocks would leave the heartbeat's answers in the socket until the lease is lost; on its own thread it cannot.

use std::future::Future;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

type Job = BoxFuture<'static, ()>;

/// A handle to the thread. After the last handle is dropped, the thread finishes its jobs and closes the
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

    /// Runs a job on the thread. A job goes on if its caller stops waiting; it may ask [`Waiting::has_gone`] before
    /// it starts its work.
    pub(crate) async fn call<T, F>(&self, job: impl FnOnce(Waiting<T>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.spawn(job(Waiting(reply)))?;
        answer.await.unwrap_or_else(|_| Err(ended().with_repeat(Repeat::Unknown)))
    }

    /// Runs a job on the thread without waiting for it.
    pub(crate) fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.jobs.send(Box::pin(job)).map_err(|_| ended().with_repeat(Repeat::Safe))
    }
}

/// The caller of a job, who waits for its answer.
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
            // A panic drops the reply's sender, which the caller sees as an error.
            Some(_) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "postgres: the store's thread has ended")
}
