//! The writer: a queue of commands, and the thread that runs them in groups.

pub(crate) mod batch;
pub(crate) mod command;
mod sweeper;
mod thread;
mod upkeep;

use std::sync::{Arc, mpsc};

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::SqliteConfig;
use crate::connection::disk::DiskSpace;
use crate::connection::{CurrentFile, Session};
use command::Command;
use thread::WriterThread;

/// The maximum number of waiting commands; a caller waits for room beyond that.
const QUEUE: usize = 1024;

/// A command and its place in the queue.
struct QueuedCommand {
    command: Box<dyn Command>,
    _permit: OwnedSemaphorePermit,
}

/// The callers' end of the queue. The thread ends and closes the file when all of them are dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<QueuedCommand>,
    places: Arc<Semaphore>,
}

impl Writer {
    pub(crate) fn start(
        session: Session,
        config: SqliteConfig,
        disk: DiskSpace,
        current: CurrentFile,
    ) -> Result<Self> {
        let (queue, commands) = mpsc::channel();
        let thread = WriterThread::new(session, config, disk, current, commands);
        std::thread::Builder::new().name("ackonce-sqlite".into()).spawn(move || thread.run()).map_err(
            |e| {
                Error::new(ErrorKind::Unavailable, "sqlite: the writer thread cannot be started")
                    .with_source(e)
            },
        )?;
        Ok(Self { queue, places: Arc::new(Semaphore::new(QUEUE)) })
    }

    /// Queues a command, waiting for room.
    pub(crate) async fn submit(&self, command: impl Command + 'static) -> Result<()> {
        let permit =
            Arc::clone(&self.places).acquire_owned().await.map_err(|_| writer_ended(Repeat::Safe))?;
        self.queue
            .send(QueuedCommand { command: Box::new(command), _permit: permit })
            .map_err(|_| writer_ended(Repeat::Safe))
    }

    /// Queues the command that `command` makes around a reply, and waits for the reply.
    pub(crate) async fn call<T, C: Command + 'static>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> C,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.submit(command(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(writer_ended(Repeat::Unknown)))
    }
}

pub(crate) fn writer_ended(repeat: Repeat) -> Error {
    Error::new(ErrorKind::Unavailable, "sqlite: the writer thread has ended").with_repeat(repeat)
}
