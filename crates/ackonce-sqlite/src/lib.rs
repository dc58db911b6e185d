#![doc = include_str!("../README.md")]

// Imports go downward only: beside, inbox and inspect, store, writer, connection, check, config, records, schema, error, clock.
mod beside;
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
mod survey;
mod writer;

/// Settings and answers that the SQL stores share.
pub use ackonce::store::{DEFAULT_WINDOW, Entered, GuardOptions, MAX_VALUE_LEN, Names, Sweep};
pub use check::FileSystem;
pub use config::{Fuse, SqliteConfig, Synchronous};
/// The error of a statement in a transaction that is rolled back, as the store's own.
pub use error::rolled_back as statement_failed;
pub use inbox::SqliteInbox;
pub use inbox::guard::SqliteGuard;
pub use inbox::transaction::{InboxStatement, InboxTx};
/// The driver, in the version this store is built on.
pub use rusqlite;
pub use schema::{create_schema, schema_sql};
pub use store::SqliteStore;
pub use survey::{FileState, SqliteSurvey, TablesState};
