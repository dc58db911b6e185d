//! The writer's own work on its file: it sweeps, and makes room.

use std::time::{Duration, Instant};

use ackonce::Result;
use ackonce::store::Sweep;
use rusqlite::{Transaction, TransactionBehavior};

use crate::cursor::Cursor;
use crate::error::{commit, rolled_back};
use crate::open::Session;
use crate::records::Records;
use crate::room;
use crate::writer::{Outcome, Thread};

/// The time for which a full store is swept before its callers get the error.
const PRESSED: Duration = Duration::from_millis(100);

impl Thread {
    /// Runs each second without a command.
    pub(crate) fn idle(&mut self) {
        // The disk may have been full some time ago.
        self.room.may_grow();
        // The file may have been replaced, and the reader waits for this thread to notice.
        let Ok(session) = self.session() else { return };
        let now = self.config.clock.now();
        let swept = session.opened.check().and_then(|()| match self.config.sweep {
            Sweep::Automatic => self.apart(&session, |this, records| this.sweeper.idle(records, now)),
            Sweep::Manual => Ok(()),
        });
        self.keep(session, &swept.map_or_else(Outcome::Failed, |()| Outcome::Committed));
    }

    /// Makes room in a full file or on a full disk. The group that met it has been undone together with the sweep
    /// that went along with it, and the same would happen to the next group.
    pub(crate) fn make_room(&mut self) {
        // Without a connection nothing can be swept; the next group reports the reason.
        let Ok(session) = self.session() else { return };
        self.room.give_up();
        room::carry_over(&session.conn);
        let swept = match self.config.sweep {
            Sweep::Automatic => self.press(&session).inspect_err(|_| self.sweeper.rest()),
            Sweep::Manual => Ok(()),
        };
        self.keep(session, &swept.map_or_else(Outcome::Failed, |()| Outcome::Committed));
    }

    /// Sweeps a full store for a while, from where it stopped the last time.
    fn press(&mut self, session: &Session) -> Result<()> {
        let started = Instant::now();
        let mut cursor = self.pressed.take().unwrap_or(Cursor::START);
        while started.elapsed() < PRESSED {
            let now = self.config.clock.now();
            match self.apart(session, |this, records| this.sweeper.press(records, &cursor, now))? {
                Some(next) => cursor = next,
                None => return Ok(()),
            }
        }
        self.pressed = Some(cursor);
        Ok(())
    }

    /// Runs `work` in a transaction that no caller waits for.
    fn apart<T>(
        &mut self,
        session: &Session,
        work: impl FnOnce(&mut Self, &Records<'_>) -> Result<T>,
    ) -> Result<T> {
        let tx = Transaction::new_unchecked(&session.conn, TransactionBehavior::Immediate)
            .map_err(|e| rolled_back("locking the file", e))?;
        let done = work(self, &Records::of(&tx, &session.known, self.config.keeping())?)?;
        tx.commit().map_err(commit)?;
        Ok(done)
    }
}
