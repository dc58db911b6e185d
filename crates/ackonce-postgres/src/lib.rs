#![doc = include_str!("../README.md")]

mod check;
mod config;
mod connection;
pub mod driver;
mod error;
mod inbox;
mod inspect;
mod records;
mod request;
mod schema;
mod sql_error;
mod store;
mod survey;
#[cfg(test)]
mod tests;

/// Settings and answers that the stores share.
pub use ackonce::store::{DEFAULT_WINDOW, Entered, GuardOptions, MAX_VALUE_LEN, Names, OnUnsafe, Sweep};
pub use config::{PostgresConfig, Prepare, Tables};
/// The pool, in the version this store is built on.
pub use deadpool_postgres;
/// The driver's errors as the store's own: of a pool, of a statement, of one in a transaction that is rolled back.
pub use error::{pool as pool_failed, statement as statement_answered, undone as statement_undone};
pub use inbox::{InboxOutcome, InboxSettings, PostgresGuard, PostgresInbox, enter_sql, finish_sql};
pub use records::SchemaName;
pub use store::PostgresStore;
pub use survey::{Pooling, PostgresSurvey, PostgresTables, TablesVersion};
/// The driver, in the version this store is built on.
pub use tokio_postgres;
