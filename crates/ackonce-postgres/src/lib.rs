#![doc = include_str!("../README.md")]

mod apart;
mod batch;
mod check;
mod config;
mod connector;
mod error;
mod group;
mod guard;
mod inbox;
mod inspect;
mod judge;
mod key;
mod leash;
mod link;
#[cfg(test)]
mod model;
#[cfg(test)]
mod plans;
mod rows;
mod schema;
mod settings;
mod sql;
mod store;
mod suspects;
mod sweep;
mod tend;
mod thread;
mod tls;
mod trip;
mod turn;

pub use config::{Names, PostgresConfig, Prepare, Sweep, Tables, Unsafe};
/// The pool, in the version this store is built on.
pub use deadpool_postgres;
pub use guard::{Entry, GuardOptions, InboxGuard, enter_sql, finish_sql};
pub use inbox::{DEFAULT_WINDOW, InboxOutcome, PostgresInbox};
pub use schema::SchemaName;
pub use settings::InboxSettings;
pub use store::{MAX_VALUE_LEN, PostgresStore};
/// The driver, in the version this store is built on.
pub use tokio_postgres;
