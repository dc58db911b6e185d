#![doc = include_str!("../README.md")]

mod authorize;
mod check;
mod clock;
mod columns;
mod config;
mod error;
mod filed;
mod filter;
mod find;
mod generation;
mod generations;
mod guard;
mod identity;
mod inbox;
mod inspect;
mod judge;
mod look;
mod open;
mod place;
mod reader;
mod room;
mod rows;
mod run;
mod schema;
mod steps;
mod store;
mod sweep;
mod tend;
mod tx;
mod upkeep;
mod writer;

pub use config::{Fuse, Names, SqliteConfig, Sweep, Synchronous};
pub use guard::{Entry, GuardOptions, InboxGuard};
pub use inbox::{DEFAULT_WINDOW, SqliteInbox};
/// The driver, in the version this store is built on.
pub use rusqlite;
pub use schema::create_schema;
pub use store::{MAX_VALUE_LEN, SqliteStore};
pub use tx::{InboxStatement, InboxTx};
