//! The savepoint of a message within its group.

use std::sync::atomic::{AtomicBool, Ordering};

use ackonce::Failure;

use super::session::SqlSession;
use super::undone::{Undone, ended, lost, swallowed};
use crate::sql_error::SqlError;

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

    /// The statement that sets it.
    pub(super) fn text(&self) -> &'static str {
        if self.is_set { NEXT } else { FIRST }
    }

    /// Sets the savepoint and waits for the answer.
    pub(super) async fn set(&mut self, session: &mut impl SqlSession) -> Result<Set, Undone> {
        let set = session.execute(self.text()).await;
        self.answered(session, set).await
    }

    /// Releases the savepoint of the last message.
    pub(super) async fn release(&mut self, session: &mut impl SqlSession) -> Result<Set, Undone> {
        // The last message failed, and was rolled back.
        if !self.unproven {
            return Ok(Set::Yes);
        }
        let released = session.execute(LAST).await;
        self.answered(session, released).await
    }

    /// Undoes the statements since the savepoint.
    pub(super) async fn roll_back(session: &mut impl SqlSession) -> Result<(), Undone> {
        session.execute(ROLL_BACK).await.map_err(lost)
    }

    /// Reads the answer to a savepoint. It is refused if a statement of the last handler failed and it answered success,
    /// or if it ended the transaction. Such handlers do so again: from now on each handler waits for the answer.
    pub(super) async fn answered(
        &mut self,
        session: &mut impl SqlSession,
        set: Result<(), SqlError>,
    ) -> Result<Set, Undone> {
        let set = match set {
            Ok(()) => Set::Yes,
            Err(error) => {
                let classified = classify(session, error).await;
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

/// Reads a refusal. Where the driver hides the server's code, the savepoint tells: it is there after a failed statement, and gone
/// with a transaction that was ended.
async fn classify(session: &mut impl SqlSession, error: SqlError) -> Result<Failure, Undone> {
    if !error.is_code_hidden() {
        return swallowed(error);
    }
    match session.execute(ROLL_BACK).await {
        Ok(()) => swallowed(SqlError::answered(Some("25P02"), error.into_source())),
        Err(error) => Err(lost(error)),
    }
}
