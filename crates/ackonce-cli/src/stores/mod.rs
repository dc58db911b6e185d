//! Store URLs, understood in one place: by the program and by the examples.

mod sqlite;
mod url;

use std::str::FromStr;
use std::sync::Arc;

use ackonce::{Deduplicator, MemoryStore, Result};
use ackonce_sqlite::SqliteStore;

pub use sqlite::SqliteUrl;
pub use url::UrlError;

use url::Parts;

/// What can be written where a store's URL is asked for.
pub const SYNTAX: &str = "memory:, or sqlite:PATH with ?synchronous=full|normal, busy_timeout_ms=N, cache_bytes=N, \
     checkpoint_pages=N, max_bytes=N, names=keep|omit, fuse=refuse|allow joined by &";

/// Where processed message IDs are remembered, as written on a command line.
///
/// ```
/// use ackonce_cli::stores::{Place, StoreUrl};
/// let url: StoreUrl = "sqlite:/var/lib/app/dedup.db?busy_timeout_ms=2000".parse()?;
/// assert!(matches!(url.place(), Place::Sqlite(_)));
/// assert!("sqlite:dedup.db?sync=off".parse::<StoreUrl>().is_err());
/// # Ok::<(), ackonce_cli::stores::UrlError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StoreUrl {
    text: String,
    place: Place,
}

/// What a store's URL means.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Place {
    /// `memory:`: in this process, forgotten when it ends.
    Memory,
    /// `sqlite:PATH`: a file, for all processes of this host.
    Sqlite(SqliteUrl),
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> std::result::Result<Self, UrlError> {
        let parts = Parts::of(text)?;
        let place = match parts.scheme {
            "memory" => parts.nothing_more().map(|()| Place::Memory)?,
            "sqlite" => Place::Sqlite(SqliteUrl::of(&parts)?),
            "redis" | "rediss" | "postgres" | "postgresql" => {
                return Err(UrlError::NotBuiltIn(parts.scheme.to_owned()));
            }
            other => return Err(UrlError::UnknownScheme(other.to_owned())),
        };
        Ok(Self { text: text.to_owned(), place })
    }
}

impl StoreUrl {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it means.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Opens the store. Blocks for some file accesses; call it at start-up.
    ///
    /// # Errors
    /// What the store answers to being opened: a missing directory, a damaged file.
    pub fn open(&self) -> Result<Opened> {
        Ok(match &self.place {
            Place::Memory => Opened::Memory(MemoryStore::new()),
            Place::Sqlite(url) => Opened::Sqlite(url.open()?),
        })
    }
}

/// A store that was opened. Cloning is cheap.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Opened {
    /// In this process.
    Memory(MemoryStore),
    /// In a SQLite file.
    Sqlite(SqliteStore),
}

impl Opened {
    /// The store as consumers take it.
    #[must_use]
    pub fn deduplicator(&self) -> Arc<dyn Deduplicator> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// The SQLite store, whose inbox commits effect and record together.
    #[must_use]
    pub fn sqlite(&self) -> Option<&SqliteStore> {
        match self {
            Self::Sqlite(store) => Some(store),
            Self::Memory(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
