//! The commands of the writer: each runs in the transaction of a group and answers its caller after the commit.

use ackonce::{Error, Result};
use rusqlite::Transaction;

use crate::clock::Clock;
use crate::connection::Authorizer;
use crate::records::Records;

/// The context in which a command runs.
pub(crate) struct CommandContext<'t> {
    pub(crate) tx: &'t Transaction<'t>,
    pub(crate) authorizer: &'t Authorizer,
    pub(crate) records: &'t Records<'t>,
    pub(crate) clock: &'t Clock,
}

/// The outcome of a group.
#[derive(Debug, Clone)]
pub(crate) enum GroupOutcome {
    /// The group is on the disk, as far as the store's settings go.
    Committed,
    /// The group was rolled back because one of its commands violated a constraint that is checked at the commit.
    Refused(Error),
    /// The group was rolled back, or its outcome is unknown; the error says which.
    Failed(Error),
}

impl GroupOutcome {
    /// The answer of a command whose own answer counts only if its group was committed.
    pub(crate) fn answer<T>(&self, own: Result<T>) -> Result<T> {
        match self {
            Self::Committed => own,
            Self::Refused(error) | Self::Failed(error) => Err(error.clone()),
        }
    }
}

/// A command for the writer.
pub(crate) trait Command: Send {
    /// The maximum number of rows that the command touches.
    fn rows(&self) -> usize;

    /// True if it must be the only one in its group.
    fn runs_alone(&self) -> bool {
        false
    }

    /// True if it runs the user's code, which may be slow.
    fn runs_user_code(&self) -> bool {
        false
    }

    /// Runs the command inside the group's transaction; returns the number of records that it wrote.
    ///
    /// # Errors
    /// The group cannot be committed. A failure of this command alone is no error here: the command keeps it for its
    /// answer.
    fn run(&mut self, cx: &CommandContext<'_>) -> Result<usize>;

    /// True if it met a full store and was undone alone, so that the group was committed without it.
    fn met_full_store(&self) -> bool {
        false
    }

    /// Answers its caller, once, whether it ran or not.
    fn answer(self: Box<Self>, outcome: &GroupOutcome);
}
