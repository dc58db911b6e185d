#![doc = include_str!("../README.md")]

mod answer;
mod authorize;
mod batch;
mod check;
mod clock;
mod columns;
mod config;
mod cursor;
mod error;
mod filter;
mod generation;
mod generations;
mod guard;
mod identity;
mod inbox;
mod inspect;
mod lookup;
mod open;
mod reader;
mod record_key;
mod records;
mod repair;
mod room;
mod run;
mod scan;
mod schema;
mod store;
mod sweep;
mod tx;
mod upkeep;
mod writer;

/// Settings and answers that the SQL stores share.
pub use ackonce::store::{DEFAULT_WINDOW, Entered, GuardOptions, Names, Sweep};
pub use config::{Fuse, SqliteConfig, Synchronous};
pub use guard::SqliteGuard;
pub use inbox::SqliteInbox;
/// The driver, in the version this store is built on.
pub use rusqlite;
pub use schema::create_schema;
pub use store::{MAX_VALUE_LEN, SqliteStore};
pub use tx::{InboxStatement, InboxTx};
