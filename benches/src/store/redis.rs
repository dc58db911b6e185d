//! The Redis store, and a key per ID by hand.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Inspect;
use ackonce_redis::RedisConfig;
use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::subject::{ByHand, Subject};

/// Patient with a server that shares its cores with the measurement.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 24 * 3600 * 1000;

pub(super) struct Redis<'r> {
    url: String,
    runtime: &'r Runtime,
    redis: MultiplexedConnection,
    prefix: String,
    opened: usize,
}

impl<'r> Redis<'r> {
    pub(super) fn connect(url: &str, runtime: &'r Runtime) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let redis = runtime.block_on(client.get_multiplexed_async_connection_with_config(&patient))?;
        let prefix = format!("b{:x}.", std::process::id());
        Ok(Self { url: url.to_owned(), runtime, redis, prefix, opened: 0 })
    }

    fn info(&mut self, section: &str, name: &str) -> anyhow::Result<String> {
        let mut info = redis::cmd("INFO");
        let info: String = self.runtime.block_on(info.arg(section).query_async(&mut self.redis))?;
        let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(found.with_context(|| format!("no {name} in INFO"))?.trim().to_owned())
    }

    fn setting(&mut self, name: &str) -> anyhow::Result<String> {
        let mut get = redis::cmd("CONFIG");
        let answer = self.runtime.block_on(get.arg("GET").arg(name).query_async(&mut self.redis));
        let (_, value): (String, String) = answer?;
        Ok(value)
    }
}

impl Subject for Redis<'_> {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn settings(&mut self) -> anyhow::Result<Value> {
        Ok(json!({
            "Redis": self.info("server", "redis_version")?,
            "appendonly": self.setting("appendonly")?,
            "appendfsync": self.setting("appendfsync")?,
            "ackonce-redis": env!("CARGO_PKG_VERSION"),
            "cores": std::thread::available_parallelism()?.get(),
        }))
    }

    /// Each under a prefix about as long as the default one, of which every bucket has a copy.
    fn open(&mut self, _: &str) -> anyhow::Result<Arc<dyn Inspect>> {
        self.opened += 1;
        let config = RedisConfig::new(&self.url).with_prefix(format!("{}{}", self.prefix, self.opened));
        let connecting = config.with_response_timeout(PATIENCE).connect();
        Ok(Arc::new(self.runtime.block_on(connecting)?))
    }

    fn bytes(&mut self) -> anyhow::Result<u64> {
        Ok(self.info("memory", "used_memory")?.parse()?)
    }

    fn by_hand(&mut self) -> anyhow::Result<Option<Box<dyn ByHand>>> {
        // A handle of the runtime would not do: these are called outside of it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = redis::Client::open(self.url.as_str())?;
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let redis = runtime.block_on(client.get_multiplexed_async_connection_with_config(&patient))?;
        let prefix = format!("{}h:", self.prefix);
        Ok(Some(Box::new(Keys { runtime, redis, prefix })))
    }
}

impl Drop for Redis<'_> {
    /// Removes the records made there.
    fn drop(&mut self) {
        let mut redis = self.redis.clone();
        let pattern = format!("{}*", self.prefix);
        let swept = self.runtime.block_on(async {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(5000);
                let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut redis).await?;
                if !keys.is_empty() {
                    redis::cmd("UNLINK").arg(keys).query_async::<()>(&mut redis).await?;
                }
                if next == 0 {
                    return Ok::<(), redis::RedisError>(());
                }
                cursor = next;
            }
        });
        if let Err(error) = swept {
            eprintln!("Redis: keys {pattern} were left behind: {error}");
        }
    }
}

/// One pipeline for each trip.
struct Keys {
    runtime: Runtime,
    redis: MultiplexedConnection,
    prefix: String,
}

impl ByHand for Keys {
    fn claim(&mut self, ids: &[String]) -> anyhow::Result<usize> {
        let mut pipe = redis::pipe();
        for id in ids {
            let key = [&self.prefix, id.as_str()].concat();
            pipe.cmd("SET").arg(key).arg("1").arg("NX").arg("PX").arg(DAY_MS);
        }
        let answers: Vec<Option<String>> = self.runtime.block_on(pipe.query_async(&mut self.redis))?;
        Ok(answers.iter().flatten().count())
    }

    fn done(&mut self, ids: &[String]) -> anyhow::Result<()> {
        let mut pipe = redis::pipe();
        for id in ids {
            let key = [&self.prefix, id.as_str()].concat();
            pipe.cmd("SET").arg(key).arg("2").arg("PX").arg(DAY_MS).ignore();
        }
        Ok(self.runtime.block_on(pipe.query_async(&mut self.redis))?)
    }
}
