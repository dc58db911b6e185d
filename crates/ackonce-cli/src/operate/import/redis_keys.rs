//! Keys of a `SET NX` scheme in a Redis.

use std::time::Duration;

use ackonce::Scope;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};

use super::super::args::scope_of;
use super::Row;
use crate::layers::redacted;
use crate::refusal::Refusal;
use crate::stores::default_provider;

/// The time limit for the connection, and for each answer.
const ANSWER: Duration = Duration::from_secs(15);

pub(super) struct RedisKeys {
    connection: MultiplexedConnection,
    pattern: String,
    affixes: Affixes,
    value: Option<Vec<u8>>,
    scope: Scope,
    window: Duration,
    /// Of `SCAN`; `None` at the end.
    cursor: Option<u64>,
}

impl RedisKeys {
    pub(super) async fn open(
        url: &str,
        pattern: &str,
        scope: &str,
        window: Duration,
    ) -> Result<Self, Refusal> {
        let scope = scope_of(scope)?;
        if pattern.is_empty() {
            return Err(Refusal::usage("--pattern is empty; write one such as seen:*"));
        }
        if !["redis://", "rediss://", "redis+unix://", "unix://"].iter().any(|scheme| url.starts_with(scheme))
        {
            return Err(Refusal::usage(
                "--from: keys are read from one server; write redis://HOST:PORT/DB, rediss:// or redis+unix:///PATH, \
                 and import each server of a cluster by itself",
            ));
        }
        default_provider();
        let wrong = |error: RedisError| Refusal::usage(format!("--from: it is no URL of Redis: {error}"));
        let client = Client::open(url).map_err(wrong)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let away = |error| {
            let url = redacted(url);
            Refusal::environment(format!("--from {url}: the Redis with the keys cannot be reached: {error}"))
        };
        Ok(Self {
            connection: connection.map_err(away)?,
            affixes: Affixes::of(pattern),
            pattern: pattern.to_owned(),
            value: None,
            scope,
            window,
            cursor: Some(0),
        })
    }

    /// The whole key is the message ID.
    pub(super) fn whole(mut self) -> Self {
        self.affixes = Affixes::default();
        self
    }

    /// Only keys with this value.
    pub(super) fn with_value(mut self, value: Option<&str>) -> Self {
        self.value = value.map(|value| value.as_bytes().to_vec());
        self
    }

    /// The next messages; none at the end. A key may come twice, as `SCAN` says.
    pub(super) async fn next(&mut self, most: usize) -> Result<Option<Vec<Row>>, Refusal> {
        let mut rows = Vec::new();
        while rows.len() < most
            && let Some(cursor) = self.cursor
        {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(most);
            let scanned = scan.query_async::<(u64, Vec<Vec<u8>>)>(&mut self.connection).await;
            let (next, keys) = scanned.map_err(|error| away(&error))?;
            self.cursor = (next != 0).then_some(next);
            let times = self.times(&keys).await?;
            let chosen = self.chosen(&keys).await?;
            for ((key, left), _) in keys.iter().zip(times).zip(chosen).filter(|(_, chosen)| *chosen) {
                let window = match left {
                    // It was gone before it could be asked, or goes at this moment.
                    -2 | 0 => continue,
                    1.. => Duration::from_millis(left.unsigned_abs()),
                    _ => self.window,
                };
                let id = self.affixes.id(key).to_vec();
                let key = self.scope.key(id).map_err(|error| {
                    Refusal::usage(format!("--pattern: the key {}: {error}", key.escape_ascii()))
                })?;
                rows.push((key, window));
            }
        }
        Ok((!rows.is_empty()).then_some(rows))
    }

    /// The time that each key has left, in milliseconds; -1 without a limit, -2 for a key that is gone.
    async fn times(&mut self, keys: &[Vec<u8>]) -> Result<Vec<i64>, Refusal> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut asking = redis::pipe();
        for key in keys {
            asking.cmd("PTTL").arg(key);
        }
        asking.query_async(&mut self.connection).await.map_err(|error| away(&error))
    }

    /// True for each key that has the value.
    async fn chosen(&mut self, keys: &[Vec<u8>]) -> Result<Vec<bool>, Refusal> {
        let Some(value) = self.value.clone().filter(|_| !keys.is_empty()) else {
            return Ok(vec![true; keys.len()]);
        };
        let mut asking = redis::pipe();
        for key in keys {
            asking.cmd("GET").arg(key);
        }
        let values: Vec<Option<Vec<u8>>> =
            asking.query_async(&mut self.connection).await.map_err(|error| away(&error))?;
        Ok(values.into_iter().map(|found| found.as_ref() == Some(&value)).collect())
    }
}

fn away(error: &RedisError) -> Refusal {
    Refusal::environment(format!("--from: the Redis with the keys: {error}"))
}

/// The literal text around the one `*` of a pattern.
#[derive(Debug, Default, PartialEq, Eq)]
struct Affixes {
    prefix: String,
    suffix: String,
}

impl Affixes {
    /// Of a pattern with other wildcards the whole key is the ID.
    fn of(pattern: &str) -> Self {
        match pattern.split_once('*') {
            Some((prefix, suffix)) if !pattern.contains(['?', '[', '\\']) && !suffix.contains('*') => {
                Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() }
            }
            _ => Self::default(),
        }
    }

    fn id<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let left = key.strip_prefix(self.prefix.as_bytes()).unwrap_or(key);
        left.strip_suffix(self.suffix.as_bytes()).unwrap_or(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_part_of_a_key_at_the_star() {
        for (pattern, key, id) in [
            ("seen:*", "seen:evt_1", "evt_1"),
            ("*:seen", "evt_1:seen", "evt_1"),
            ("a:*:b", "a:x:y:b", "x:y"),
            ("*", "x", "x"),
            ("a:*:*", "a:x:y", "a:x:y"),
            ("a:[0-9]*", "a:1x", "a:1x"),
        ] {
            assert_eq!(Affixes::of(pattern).id(key.as_bytes()), id.as_bytes(), "{pattern}");
        }
    }
}
