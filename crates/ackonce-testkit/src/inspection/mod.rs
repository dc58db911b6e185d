//! The inspection suite: the duties of every [`Inspect`] store to its operators, one property at a time.
//!
//! As [the conformance suite](mod@crate::conformance): plain functions over a [`Fixture`] that panic where the store
//! breaks the property, made into tests by [`inspection!`](crate::inspection!), or all run by [`run_all`]. A store
//! may be shared with other tests: keys live in a random scope per property, and records of others, which come
//! and go, are ignored.
#![allow(clippy::panic, reason = "a property that does not hold panics, as every test does")]

mod bench;
mod client;
mod suite;

pub mod counting;
pub mod filtering;
pub mod forgetting;
pub mod listed;
pub mod listing;
pub mod looking;
pub mod races;
pub mod redriving;
pub mod sweeping;
pub mod trail;

use std::sync::Arc;

use ackonce::store::Inspect;
use async_trait::async_trait;

pub use suite::{PROPERTIES, run_all};

pub use crate::suite::{FailedProperty, Property, SuiteReport};

/// The store under test.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Another client of the same records, on its own connection if the store has connections.
    async fn open(&self) -> Arc<dyn Inspect>;

    /// True if it has no records except those of its property (default: false). Counts are
    /// then checked to the last record.
    fn is_alone(&self) -> bool {
        false
    }
}
