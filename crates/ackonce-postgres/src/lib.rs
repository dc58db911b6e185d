#![doc = include_str!("../README.md")]

mod check;
mod config;
mod connection;
mod error;
mod inbox;
mod inspect;
mod records;
mod request;
mod schema;
mod store;
#[cfg(test)]
mod tests;

pub use config::{Names, PostgresConfig, Prepare, Sweep, Tables, Unsafe};
/// The pool, in the version this store is built on.
pub use deadpool_postgres;
pub use inbox::{
    DEFAULT_WINDOW, Entry, GuardOptions, InboxGuard, InboxOutcome, InboxSettings, PostgresInbox, enter_sql,
    finish_sql,
};
pub use records::SchemaName;
pub use request::MAX_VALUE_LEN;
pub use store::PostgresStore;
/// The driver, in the version this store is built on.
pub use tokio_postgres;
