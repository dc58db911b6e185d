//! `sqlite:PATH?option=value`.

use std::path::{Path, PathBuf};

use ackonce::Result;
use ackonce_sqlite::{Fuse, Names, SqliteConfig, SqliteStore, Sweep, Synchronous};

use super::url::{Parts, UrlError, millis, number, unknown, word};

const OPTIONS: &str = "synchronous, busy_timeout_ms, cache_bytes, checkpoint_pages, max_bytes, generation, sweep, \
     names and fuse";

/// A SQLite file with the options of its URL.
#[derive(Debug, Clone)]
pub struct SqliteUrl {
    path: PathBuf,
    /// Boxed: it is large among the options of a command line.
    config: Box<SqliteConfig>,
}

impl SqliteUrl {
    /// The store's configuration.
    #[must_use]
    pub fn config(&self) -> &SqliteConfig {
        &self.config
    }

    pub(super) fn of(parts: &Parts<'_>) -> std::result::Result<Self, UrlError> {
        // As elsewhere, `sqlite://` is followed by a relative path and `sqlite:///` by an absolute one.
        let path = parts.place.strip_prefix("//").unwrap_or(parts.place);
        if path.is_empty() {
            return Err(UrlError::NoPath);
        }
        let config = parts.options.iter().copied().try_fold(SqliteConfig::new(path), set)?;
        Ok(Self { path: path.into(), config: Box::new(config) })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, creating it where it is missing.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open(&self) -> Result<SqliteStore> {
        SqliteConfig::clone(&self.config).open()
    }
}

fn set(config: SqliteConfig, option: (&str, &str)) -> std::result::Result<SqliteConfig, UrlError> {
    Ok(match option.0 {
        "synchronous" => {
            let words = [("full", Synchronous::Full), ("normal", Synchronous::Normal)];
            config.with_synchronous(word(option, "full or normal", &words)?)
        }
        "busy_timeout_ms" => config.with_busy_timeout(millis(option)?),
        "cache_bytes" => config.with_cache_bytes(number(option, "a number of bytes")?),
        "checkpoint_pages" => config.with_checkpoint_pages(number(option, "a number of pages")?),
        "max_bytes" => config.with_max_bytes(number(option, "a number of bytes")?),
        "sweep" => {
            let words = [("automatic", Sweep::Automatic), ("manual", Sweep::Manual)];
            config.with_sweep(word(option, "automatic or manual", &words)?)
        }
        "generation" => config.with_generation(number(option, "a number of records")?),
        "names" => {
            let words = [("buried", Names::Buried), ("keep", Names::Keep), ("omit", Names::Omit)];
            config.with_names(word(option, "buried, keep or omit", &words)?)
        }
        "fuse" => {
            let words = [("refuse", Fuse::Refuse), ("allow", Fuse::Allow)];
            config.with_fuse(word(option, "refuse or allow", &words)?)
        }
        name => return Err(unknown(name, OPTIONS)),
    })
}
