//! The savepoint around each message of a transaction of several.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use ackonce::Failure;
use futures_util::future::{Either, select};
use tokio_postgres::{Error as PgError, Transaction};

use super::undone::{Undone, ended, lost, swallowed};

const FIRST: &str = "SAVEPOINT ackonce_item";
const NEXT: &str = "RELEASE SAVEPOINT ackonce_item; SAVEPOINT ackonce_item";
const LAST: &str = "RELEASE SAVEPOINT ackonce_item";
/// The savepoint stays, for the next message.
const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT ackonce_item";

/// The state of the savepoint.
pub(super) struct Savepoint<'i> {
    /// True once a handler of the inbox has ignored a failed statement or ended its transaction.
    swallows: &'i AtomicBool,
    is_set: bool,
    /// True until the savepoint of the last successful message was released, which shows that no
    /// statement of its handler failed unnoticed.
    unproven: bool,
}

/// The answer to a savepoint.
pub(super) enum Set {
    Yes,
    /// Refused: a statement of the last handler failed, and it answered success. Its message gets this failure, and then the
    /// transaction has to be rolled back to the savepoint.
    Swallowed(Failure),
}

impl<'i> Savepoint<'i> {
    pub(super) fn new(swallows: &'i AtomicBool) -> Self {
        Self { swallows, is_set: false, unproven: false }
    }

    /// The handler of the last message answered success.
    pub(super) fn succeeded(&mut self) {
        self.unproven = true;
    }

    /// True if the inbox has a reason to wait for the answer before the next handler runs.
    pub(super) fn waits(&self) -> bool {
        self.swallows.load(Ordering::Relaxed)
    }

    /// Sets the savepoint and waits for the answer.
    pub(super) async fn set(&mut self, tx: &Transaction<'_>) -> Result<Set, Undone> {
        self.answered(tx.batch_execute(self.text()).await)
    }

    /// Sets the savepoint, and sends the handler's first statement at once, which saves a round trip for each message. No
    /// result if the savepoint was refused and the handler dropped.
    pub(super) async fn set_along<R>(
        &mut self,
        tx: &Transaction<'_>,
        handling: impl Future<Output = R>,
    ) -> Result<(Set, Option<R>), Undone> {
        let setting = pin!(tx.batch_execute(self.text()));
        // The savepoint is polled first, and the driver sends in the order of the first polls.
        let (set, ran) = match select(setting, pin!(handling)).await {
            Either::Left((Ok(()), handling)) => (Ok(()), Some(handling.await)),
            Either::Left((refused, _)) => (refused, None),
            Either::Right((ran, setting)) => (setting.await, Some(ran)),
        };
        let was_set = set.is_ok();
        let set = self.answered(set)?;
        Ok((set, ran.filter(|_| was_set)))
    }

    fn text(&self) -> &'static str {
        if self.is_set { NEXT } else { FIRST }
    }

    /// Releases the savepoint of the last message.
    pub(super) async fn release(&mut self, tx: &Transaction<'_>) -> Result<Set, Undone> {
        // The last message failed, and was rolled back.
        if !self.unproven {
            return Ok(Set::Yes);
        }
        self.answered(tx.batch_execute(LAST).await)
    }

    /// Undoes the statements since the savepoint.
    pub(super) async fn roll_back(tx: &Transaction<'_>) -> Result<(), Undone> {
        tx.batch_execute(ROLL_BACK).await.map_err(lost)
    }

    /// Reads the answer to a savepoint. It is refused if a statement of the last handler failed and it answered success,
    /// or if it ended the transaction. Such handlers do so again: from now on each handler waits for the answer.
    fn answered(&mut self, set: Result<(), PgError>) -> Result<Set, Undone> {
        let set = match set {
            Ok(()) => Set::Yes,
            Err(error) => {
                let classified = swallowed(error);
                if !matches!(classified, Err(Undone::All(_))) {
                    self.swallows.store(true, Ordering::Relaxed);
                }
                let failure = classified?;
                if !self.unproven {
                    return Err(Undone::All(ended()));
                }
                Set::Swallowed(failure)
            }
        };
        (self.is_set, self.unproven) = (true, false);
        Ok(set)
    }
}
