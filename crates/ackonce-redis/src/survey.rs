//! Facts about a server, for programs that judge a set-up. Nothing is changed, and no server is refused.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::Result;

use crate::check::{RedisServer, parse_info};
use crate::connection::{Address, Connection, missing_rights, settings};
use crate::error::connecting;
use crate::{RedisConfig, Replicas};

/// The facts that [`RedisConfig::survey`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct RedisSurvey {
    /// The server, or the primaries of a cluster; of a cluster that is not whole, the server that was asked.
    pub servers: Vec<RedisServer>,
    /// True if the URL is that of a cluster.
    pub is_cluster: bool,
    /// The answer to CLUSTER INFO; `None` if the URL is not that of a cluster, or the command is forbidden.
    pub cluster: Option<HashMap<String, String>>,
    /// The rules that the user's ACL lacks, such as `+hset`.
    pub missing_rights: Vec<String>,
    /// The time by which the server's clock is ahead of this host's, in microseconds, negative if behind. `None` if it does
    /// not tell.
    pub clock_ahead_us: Option<i64>,
    /// The error in [`clock_ahead_us`](Self::clock_ahead_us), in microseconds: the time that its question took.
    pub clock_error_us: i64,
    /// [`RedisConfig::with_response_timeout`].
    pub response_timeout: Duration,
    /// [`RedisConfig::with_replicas`].
    pub replicas: Option<Replicas>,
}

impl RedisConfig {
    /// Asks the server for its settings and its role, the user's rights and the time. It takes as long as a connection and
    /// a few answers may take.
    ///
    /// # Errors
    /// - [`Config`](ackonce::ErrorKind::Config): the URL, the user or the password.
    /// - [`Unavailable`](ackonce::ErrorKind::Unavailable): it cannot be reached, or does not answer in time.
    pub async fn survey(&self) -> Result<RedisSurvey> {
        let address = Address::parse(&self.url)?;
        let cluster = match address.is_cluster {
            true => cluster(&address, self).await?,
            false => None,
        };
        // The driver cannot use a cluster that is not whole; one of its servers can be asked all the same.
        let is_broken =
            cluster.as_ref().is_some_and(|info| info.get("cluster_state").is_some_and(|state| state != "ok"));
        let asked = if is_broken { alone(&address) } else { address.clone() };
        let mut connection = Connection::open(&asked, self).await?;
        let servers = settings(&mut connection).await.map_err(connecting)?;
        let missing_rights = if is_broken { Vec::new() } else { missing_rights(&connection, self).await };
        let (clock_ahead_us, clock_error_us) = clock(&mut connection).await;
        Ok(RedisSurvey {
            servers,
            is_cluster: address.is_cluster,
            cluster,
            missing_rights,
            clock_ahead_us,
            clock_error_us,
            response_timeout: self.response_timeout,
            replicas: self.replicas,
        })
    }
}

/// The first server of a cluster, by itself.
fn alone(address: &Address) -> Address {
    Address { nodes: address.nodes.iter().take(1).cloned().collect(), is_cluster: false, ..address.clone() }
}

async fn cluster(address: &Address, config: &RedisConfig) -> Result<Option<HashMap<String, String>>> {
    let mut connection = Connection::open(&alone(address), config).await?;
    let answer = connection.ask(redis::cmd("CLUSTER").arg("INFO")).await.map_err(connecting)?;
    // A server that is in no cluster, or a right that the user lacks.
    Ok(redis::from_redis_value::<String>(answer).ok().as_deref().map(parse_info))
}

async fn clock(connection: &mut Connection) -> (Option<i64>, i64) {
    let before = now_us();
    let answer = connection.ask(&redis::cmd("TIME")).await.ok();
    let after = now_us();
    let told = answer.and_then(|answer| redis::from_redis_value::<(i64, i64)>(answer).ok());
    let ahead = told.map(|(s, us)| s.saturating_mul(1_000_000).saturating_add(us) - (before + after) / 2);
    (ahead, after - before)
}

fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
