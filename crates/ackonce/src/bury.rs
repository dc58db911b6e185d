//! The dead-letter place: where a message that will never succeed goes once, with its reason.

use async_trait::async_trait;

use crate::{BoxError, Key};

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

/// Where buried messages of one adapter go.
///
/// It is asked before the store records the burial and before the ack. A crash in between repeats it, so a
/// dead letter may appear twice, with the same scope and message ID in its headers; it is never missing.
#[async_trait]
pub trait Graveyard<D>: Send + Sync {
    /// Puts the message there, confirmed.
    ///
    /// # Errors
    /// It is not there for certain. The runner backs off and asks again; nothing is acknowledged.
    async fn bury(&self, delivery: &D, burial: &Burial) -> Result<(), BoxError>;
}

/// No dead-letter place: the reason is kept in the store's record and in the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordOnly;

#[async_trait]
impl<D: Sync> Graveyard<D> for RecordOnly {
    async fn bury(&self, _: &D, _: &Burial) -> Result<(), BoxError> {
        Ok(())
    }
}
