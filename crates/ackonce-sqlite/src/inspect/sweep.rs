//! A sweep on request.

use ackonce::{ErrorKind, Result};
use tokio::sync::oneshot;

use super::CHUNK;
use crate::SqliteStore;
use crate::records::cursor::Cursor;
use crate::writer::command::{Command, CommandContext, GroupOutcome};

impl SqliteStore {
    /// Reads every record once and drops the expired ones; returns their number. Other work goes on in between.
    ///
    /// With [`Sweep::Automatic`](crate::Sweep::Automatic) the store does so by itself. The file does not shrink: new
    /// records use the free pages.
    ///
    /// ```
    /// use ackonce_sqlite::{SqliteConfig, Sweep};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("dedup.db");
    /// let store = SqliteConfig::new(path).with_sweep(Sweep::Manual).open()?;
    /// assert_eq!(store.sweep().await?, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of any write to the store. A repeat is safe and starts from the beginning.
    pub async fn sweep(&self) -> Result<u64> {
        let (mut dropped, mut next) = (0, Some(Cursor::START));
        while let Some(cursor) = next {
            let step = |reply| SweepStep { cursor: cursor.clone(), result: Ok((0, None)), reply };
            let (count, after) = match self.writer().call(step).await {
                // The writer has since made room, if it could.
                Err(full) if full.kind() == ErrorKind::Full => self.writer().call(step).await?,
                result => result?,
            };
            dropped += count;
            next = after;
        }
        Ok(dropped)
    }
}

/// One step of the sweep: the number of dropped records and the position to continue from.
struct SweepStep {
    cursor: Cursor,
    result: Result<(u64, Option<Cursor>)>,
    reply: oneshot::Sender<Result<(u64, Option<Cursor>)>>,
}

impl Command for SweepStep {
    fn rows(&self) -> usize {
        CHUNK as usize
    }

    /// Its failure then affects no other command: a savepoint would take room.
    fn runs_alone(&self) -> bool {
        true
    }

    fn run(&mut self, cx: &CommandContext<'_>) -> Result<usize> {
        self.result = Ok(cx.records.sweep_step(&self.cursor, CHUNK, cx.clock.now())?);
        // No sweep follows the removal of records.
        Ok(0)
    }

    fn answer(self: Box<Self>, outcome: &GroupOutcome) {
        let _ = self.reply.send(outcome.answer(self.result));
    }
}
