//! The conformance suite: what every [`Deduplicator`] must do, one property at a time.
//!
//! Each property is a plain function over a [`Fixture`] and panics where the store breaks it.
//! [`conformance!`](crate::conformance!) makes one named test of each; [`run_all`] runs them all and reports.
//! Keys live in a random scope per property, so a store may be shared and need not be emptied.
//!
//! The suite never asserts that something was fast. Where time must pass, it passes by the store's own clock;
//! where an answer counts only if it came in time, the property measures, and repeats with more time if not.
#![allow(clippy::panic, reason = "a property that does not hold panics, as every test does")]

pub(crate) mod bench;
mod report;
mod suite;

pub mod attempts;
pub mod backoffs;
pub mod batches;
pub mod cancellation;
pub mod claims;
pub mod content;
pub mod fencing;
pub mod keys;
pub mod payloads;
pub mod races;
pub mod settling;
pub mod time;

use std::sync::Arc;

use ackonce::Deduplicator;
use async_trait::async_trait;

pub use report::{Failed, Report, run_all};
#[doc(hidden)]
pub use suite::run_test;
pub use suite::{PROPERTIES, Property};

/// The store under test.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Another client of the same records, on its own connection where there is such a thing.
    async fn open(&self) -> Arc<dyn Deduplicator>;

    /// Words that [`describe`](Deduplicator::describe) and `Debug` must not show: the password it connects with.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}
