//! The writer's own work on its file: it sweeps, and makes room.

use std::time::{Duration, Instant};

use ackonce::Result;
use ackonce::store::Sweep;

use super::command::GroupOutcome;
use super::thread::WriterThread;
use crate::connection::{Session, disk};
use crate::error::{commit, rolled_back};
use crate::records::Records;
use crate::records::cursor::Cursor;

/// The time for which a full store is swept before its callers get the error.
const FULL_SWEEP_TIME: Duration = Duration::from_millis(100);

impl WriterThread {
    /// Runs each second without a command.
    pub(super) fn run_idle(&mut self) {
        // The disk may have been full some time ago.
        self.disk.may_grow();
        // The file may have been replaced, and the reader waits for this thread to notice.
        let Ok(session) = self.take_session() else { return };
        let now = self.config.clock.now();
        let swept = session.file.check().and_then(|()| match self.config.sweep {
            Sweep::Automatic => {
                self.in_transaction(&session, |this, records| this.sweeper.sweep_idle(records, now))
            }
            Sweep::Manual => Ok(()),
        });
        self.keep_or_close(session, &swept.map_or_else(GroupOutcome::Failed, |()| GroupOutcome::Committed));
    }

    /// Makes room in a full file or on a full disk. The group that met it has been undone together with the sweep
    /// that went along with it, and the same would happen to the next group.
    pub(super) fn make_room(&mut self) {
        // Without a connection nothing can be swept; the next group reports the reason.
        let Ok(session) = self.take_session() else { return };
        self.disk.release_reserve();
        disk::checkpoint(&session.conn);
        let swept = match self.config.sweep {
            Sweep::Automatic => self.sweep_full(&session).inspect_err(|_| self.sweeper.pause()),
            Sweep::Manual => Ok(()),
        };
        self.keep_or_close(session, &swept.map_or_else(GroupOutcome::Failed, |()| GroupOutcome::Committed));
    }

    /// Sweeps a full store for a while, from the position at which it stopped the last time.
    fn sweep_full(&mut self, session: &Session) -> Result<()> {
        let started = Instant::now();
        let mut cursor = self.full_cursor.take().unwrap_or(Cursor::START);
        while started.elapsed() < FULL_SWEEP_TIME {
            let now = self.config.clock.now();
            let step = self
                .in_transaction(session, |this, records| this.sweeper.sweep_full_step(records, &cursor, now));
            match step? {
                Some(next) => cursor = next,
                None => return Ok(()),
            }
        }
        self.full_cursor = Some(cursor);
        Ok(())
    }

    /// Runs `work` in a transaction that no caller waits for.
    fn in_transaction<T>(
        &mut self,
        session: &Session,
        work: impl FnOnce(&mut Self, &Records<'_>) -> Result<T>,
    ) -> Result<T> {
        let tx = session.begin(self.config.busy_timeout).map_err(|e| rolled_back("locking the file", e))?;
        let done = work(self, &Records::new(&tx, &session.cache, self.config.record_settings())?)?;
        tx.commit().map_err(commit)?;
        Ok(done)
    }
}
