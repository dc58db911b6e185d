#![doc = include_str!("../README.md")]

mod error;
mod guard;
mod inbox;
#[cfg(feature = "outbox")]
mod outbox;
mod pool;
mod session;
mod statement;
mod transaction;

/// Settings and answers that an inbox and a guard share with the store.
pub use ackonce_postgres::{Entered, GuardOptions, InboxOutcome, InboxSettings, Names, SchemaName};
/// The query builder, in the version this crate was built with.
pub use diesel;
/// The driver, in the version this crate was built with.
pub use diesel_async;
pub use guard::DieselGuard;
pub use inbox::DieselInbox;
#[cfg(feature = "outbox")]
pub use outbox::DieselOutbox;
pub use pool::DieselPool;
