//! `redis://…?option=value` and its likes.

use std::time::Duration;

use ackonce::Result;
use ackonce_redis::{Names, OnUnsafe, RedisConfig, RedisStore, Replicas};

use super::url::{Parts, UrlError, millis, number, unknown, word};

const OPTIONS: &str = "prefix, connect_timeout_ms, response_timeout_ms, check_interval_ms, unsafe, names, replicas and replicas_timeout_ms";
/// Of a Unix socket's URL.
const OF_DRIVER: [&str; 3] = ["db", "user", "pass"];
/// The default time to wait for replicas.
const REPLICAS_TIMEOUT: Duration = Duration::from_secs(1);

/// A Redis server or cluster with the options of its URL.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    config: RedisConfig,
}

impl RedisUrl {
    /// The store's configuration.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    pub(super) fn of(parts: &Parts<'_>) -> std::result::Result<Self, UrlError> {
        // Without the slashes it would be a name, in which nobody looks for a password.
        if parts.place.strip_prefix("//").is_none_or(|server| server.trim_start_matches('/').is_empty()) {
            return Err(UrlError::NoServer(parts.scheme.to_owned()));
        }
        let is_socket = parts.scheme.ends_with("unix");
        let of_driver: &[&str] = if is_socket { &OF_DRIVER } else { &[] };
        let mut config = RedisConfig::new(parts.with_options(of_driver));
        let (mut count, mut timeout) = (None, None);
        for option in parts.options.iter().copied().filter(|(name, _)| !of_driver.contains(name)) {
            match option.0 {
                "replicas" => count = Some(number(option, "a number of replicas")?),
                "replicas_timeout_ms" => timeout = Some(millis(option)?),
                _ => config = set(config, option)?,
            }
        }
        match (count, timeout) {
            (Some(count), timeout) => {
                let timeout = timeout.unwrap_or(REPLICAS_TIMEOUT);
                config = config.with_replicas(Replicas { count, timeout });
            }
            (None, Some(_)) => {
                let why = "of use only beside replicas=N".to_owned();
                return Err(UrlError::Option { name: "replicas_timeout_ms".to_owned(), why });
            }
            (None, None) => {}
        }
        super::default_provider();
        config.check().map_err(|error| UrlError::Refused(ackonce::chain(&error).to_string()))?;
        Ok(Self { config })
    }

    /// Connects, and looks at the server.
    ///
    /// # Errors
    /// As [`RedisStore::connect`], and for a malformed address.
    pub async fn open(&self) -> Result<RedisStore> {
        self.config.clone().connect().await
    }
}

fn set(config: RedisConfig, option: (&str, &str)) -> std::result::Result<RedisConfig, UrlError> {
    Ok(match option.0 {
        "prefix" => config.with_prefix(option.1),
        "connect_timeout_ms" => config.with_connect_timeout(millis(option)?),
        "response_timeout_ms" => config.with_response_timeout(millis(option)?),
        "check_interval_ms" => config.with_check_interval(millis(option)?),
        "unsafe" => {
            let words = [("refuse", OnUnsafe::Refuse), ("downgrade", OnUnsafe::Downgrade)];
            config.with_unsafe(word(option, "refuse or downgrade", &words)?)
        }
        "names" => {
            let words = [("buried", Names::Buried), ("keep", Names::Keep), ("omit", Names::Omit)];
            config.with_names(word(option, "buried, keep or omit", &words)?)
        }
        name => return Err(unknown(name, OPTIONS)),
    })
}
