#![doc = include_str!("../README.md")]

mod apart;
mod batch;
mod check;
mod classify;
mod client;
mod config;
mod connection_guard;
mod connector;
mod error;
mod group;
mod guard;
mod inbox;
mod inspect;
mod key;
#[cfg(test)]
mod model;
#[cfg(test)]
mod plans;
mod repair;
mod request;
mod rows;
mod savepoint;
mod schema;
mod settings;
mod sql;
mod store;
mod suspects;
mod sweep;
mod thread;
mod tls;

/// Settings and answers that the stores share.
pub use ackonce::store::{DEFAULT_WINDOW, Entered, GuardOptions, Names, OnUnsafe, Sweep};
pub use config::{PostgresConfig, Prepare, Tables};
/// The pool, in the version this store is built on.
pub use deadpool_postgres;
pub use guard::{PostgresGuard, enter_sql, finish_sql};
pub use inbox::{InboxOutcome, PostgresInbox};
pub use schema::SchemaName;
pub use settings::InboxSettings;
pub use store::{MAX_VALUE_LEN, PostgresStore};
/// The driver, in the version this store is built on.
pub use tokio_postgres;
