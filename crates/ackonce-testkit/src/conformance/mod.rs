//! The conformance suite: the duties of every [`Deduplicator`](ackonce::Deduplicator), one property at a time.
//!
//! Each property is a plain function over a [`Fixture`] and panics if the store breaks it.
//! [`conformance!`](crate::conformance!) makes one named test of each; [`run_all`] runs them all and reports.
//! Keys live in a random scope per property, so a store may be shared and need not be emptied.
//!
//! The suite never asserts that something was fast. Where time must pass, it passes by the store's own clock;
//! where an answer counts only if it came in time, the property measures, and repeats with more time if not.
//!
//! It opens the store again as after a `kill -9`, makes it fail, and checks its size. It does not cut the power, so
//! it cannot tell a store that flushes from one that leaves flushing to the operating system.
#![allow(clippy::panic, reason = "a property that does not hold panics, as every test does")]

pub(crate) mod bench;
mod fixture;
mod run;
mod suite;

pub mod attempts;
pub mod backoffs;
pub mod batches;
pub mod cancellation;
pub mod claims;
pub mod content;
pub mod durability;
pub mod failures;
pub mod fencing;
pub mod keys;
pub mod payloads;
pub mod progress;
pub mod races;
pub mod room;
pub mod settling;
pub mod time;
pub mod versions;

pub use fixture::{Breakable, CannotFail, Fixture, Outage, Unbreakable, Wire, copied, swept};
pub use run::{run_all, run_all_but};
pub use suite::PROPERTIES;
#[doc(hidden)]
pub use suite::run_test;

pub use crate::suite::{FailedProperty, Property, SuiteReport};
