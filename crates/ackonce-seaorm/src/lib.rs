#![doc = include_str!("../README.md")]

mod error;
mod guard;
mod inbox;
#[cfg(feature = "outbox")]
mod outbox;
mod session;

/// Settings and answers that an inbox and a guard share with the store.
pub use ackonce_postgres::{Entered, GuardOptions, InboxOutcome, InboxSettings, Names, SchemaName};
pub use guard::SeaOrmGuard;
pub use inbox::SeaOrmInbox;
#[cfg(feature = "outbox")]
pub use outbox::SeaOrmOutbox;
/// The library, in the version this crate was built with.
pub use sea_orm;
