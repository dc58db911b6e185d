//! The dead-letter place: where a message that will never succeed goes once, with its reason.

use std::fmt;

use async_trait::async_trait;

use crate::{BoxError, Key, chain};

/// Why and when a message was given up.
#[derive(Debug, Clone)]
pub struct Burial {
    /// Scope and message ID.
    pub key: Key,
    /// The reason, in a line.
    pub reason: String,
    /// Attempts counted, the last one included; 0 for a message that never had one.
    pub attempts: u32,
}

/// The dead-letter place of one adapter.
///
/// The runner asks it before the store records the burial and before the ack. A crash in between repeats the burial,
/// so a dead letter may appear twice, with the same scope and message ID in its headers; it is never missing. A
/// burial holds no handler slot.
#[async_trait]
pub trait Graveyard<D>: Send + Sync {
    /// Puts the message there and waits for the confirmation.
    ///
    /// # Errors
    /// [`BuryError::Retry`]: the letter may not be there; the runner backs off and asks again, and nothing is
    /// acknowledged. [`BuryError::Never`]: this message can never be put there; the runner records the burial in the
    /// store alone, with the reason, and counts it.
    async fn bury(&self, delivery: &D, burial: &Burial) -> Result<Letter, BuryError>;
}

/// The extent of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter {
    /// The whole message.
    Whole,
    /// A part of it, because the place does not take the whole; the text names the parts left out.
    Reduced(String),
}

/// Why a dead letter was not put in its place.
#[derive(Debug)]
pub enum BuryError {
    /// The place does not answer or refuses for now.
    Retry(BoxError),
    /// The place will never take this message, not even a reduced letter of it.
    Never(BoxError),
}

/// Any error is one to retry; [`BuryError::Never`] has to be said.
impl<E: Into<BoxError>> From<E> for BuryError {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

impl fmt::Display for BuryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(error) => write!(f, "the dead letter was not confirmed: {}", chain(&**error)),
            Self::Never(error) => {
                write!(f, "the dead-letter place will never take this message: {}", chain(&**error))
            }
        }
    }
}

/// No dead-letter place: the reason is kept in the store's record and in the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordOnly;

#[async_trait]
impl<D: Sync> Graveyard<D> for RecordOnly {
    async fn bury(&self, _: &D, _: &Burial) -> Result<Letter, BuryError> {
        Ok(Letter::Whole)
    }
}
