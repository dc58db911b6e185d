#![doc = include_str!("../README.md")]

// Imports go downward only: inbox and inspect, store, writer, connection, check, config, records, schema, error, clock.
mod check;
mod clock;
mod config;
mod connection;
mod error;
mod inbox;
mod inspect;
mod records;
mod schema;
mod store;
mod writer;

pub use config::{Fuse, Names, SqliteConfig, Sweep, Synchronous};
pub use inbox::guard::{Entry, GuardOptions, InboxGuard};
pub use inbox::transaction::{InboxStatement, InboxTx};
pub use inbox::{DEFAULT_WINDOW, SqliteInbox};
/// The driver, in the version this store is built on.
pub use rusqlite;
pub use schema::create_schema;
pub use store::{MAX_VALUE_LEN, SqliteStore};
