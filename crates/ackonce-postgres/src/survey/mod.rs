//! Facts about a server and the store's tables, for programs that judge a set-up. Nothing is changed, and no server is
//! refused.

mod pooling;
mod tables;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::connection::connector;
use crate::error::{pool as no_connection, statement};
use crate::{PostgresConfig, Prepare, Tables};

pub use self::pooling::Pooling;
pub use self::tables::{PostgresTables, TablesVersion};

/// The settings that are asked for.
const SETTINGS: [&str; 15] = [
    "server_version_num",
    "default_transaction_read_only",
    "default_transaction_isolation",
    "fsync",
    "full_page_writes",
    "zero_damaged_pages",
    "server_encoding",
    "synchronous_commit",
    "synchronous_standby_names",
    "autovacuum",
    "track_counts",
    "statement_timeout",
    "max_connections",
    "superuser_reserved_connections",
    "max_slot_wal_keep_size",
];

const ASK: &str = "SELECT pg_is_in_recovery() AS standby, EXISTS (SELECT 1 FROM pg_stat_replication) AS replicated, \
    array(SELECT name FROM unnest($1::text[]) AS name) AS names, \
    array(SELECT coalesce(current_setting(name, true), '') FROM unnest($1::text[]) AS name) AS settings, \
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connected, \
    (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND backend_type = 'client backend') AS own, \
    (SELECT rolconnlimit::int8 FROM pg_roles WHERE rolname = current_user) AS role_limit, \
    (SELECT datconnlimit::int8 FROM pg_database WHERE datname = current_database()) AS database_limit, \
    array(SELECT slot_name::text FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL) AS idle_slots, \
    current_user::text AS role";

/// The facts that [`PostgresConfig::survey`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct PostgresSurvey {
    /// True for a standby.
    pub standby: bool,
    /// True if the server has replicas at this moment.
    pub replicated: bool,
    /// Settings as a session of this role has them; an empty text for one that the server does not know.
    pub settings: BTreeMap<String, String>,
    /// The connections that this role could open now, beside those that are open; `None` without a limit.
    pub free_connections: Option<i64>,
    /// Replication slots without a consumer: the server keeps its log for them.
    pub idle_slots: Vec<String>,
    /// The role.
    pub role: String,
    /// The time by which the server's clock is ahead of this host's, in microseconds, negative if behind.
    pub clock_ahead_us: i64,
    /// The error in [`clock_ahead_us`](Self::clock_ahead_us), in microseconds: the time that its question took.
    pub clock_error_us: i64,
    /// The treatment of sessions between this host and the server.
    pub pooling: Pooling,
    /// The store's tables; `None` if they are missing.
    pub tables: Option<PostgresTables>,
    /// The name of their schema.
    pub schema: String,
    /// [`PostgresConfig::with_tables`].
    pub on_missing: Tables,
    /// [`PostgresConfig::with_connections`].
    pub connections: usize,
    /// [`PostgresConfig::with_request_timeout`].
    pub request_timeout: Duration,
    /// [`PostgresConfig::with_prepare`].
    pub prepare: Prepare,
}

impl PostgresSurvey {
    /// A setting; an empty text for one that the server does not know.
    #[must_use]
    pub fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }
}

impl PostgresConfig {
    /// Asks the server for its settings, the role's rights, the state of the tables and the time, by
    /// statements that only read.
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the server refuses the login.
    /// - [`Unavailable`](ErrorKind::Unavailable): it cannot be reached, or does not answer within
    ///   [`with_request_timeout`](Self::with_request_timeout), which holds for each of about six questions.
    pub async fn survey(&self) -> Result<PostgresSurvey> {
        let limit = self.request_timeout;
        let pool = connector(&self.server)?.pool(2)?;
        let one = in_time(limit, async { pool.get().await.map_err(no_connection) }).await?;
        let row = in_time(limit, async {
            let row = one.query_typed_one(ASK, &[(&SETTINGS.as_slice(), Type::TEXT_ARRAY)]).await;
            row.map_err(|e| statement("reading the server's settings", e))
        })
        .await?;
        let misread = |e| statement("reading the server's settings", e);
        let names: Vec<String> = row.try_get("names").map_err(misread)?;
        let values: Vec<String> = row.try_get("settings").map_err(misread)?;
        let settings: BTreeMap<_, _> = names.into_iter().zip(values).collect();
        let number = |name: &str| row.try_get::<_, i64>(name).map_err(misread);
        let limits = [
            Some(total(&settings) - number("connected")?),
            limit_of(number("role_limit")?).map(|limit| limit - number("own").unwrap_or(0)),
            limit_of(number("database_limit")?).map(|limit| limit - number("connected").unwrap_or(0)),
        ];
        let (clock_ahead_us, clock_error_us) = in_time(limit, clock(&one)).await?;
        let tables = in_time(limit, tables::read(&one, &self.schema)).await?;
        Ok(PostgresSurvey {
            standby: row.try_get("standby").map_err(misread)?,
            replicated: row.try_get("replicated").map_err(misread)?,
            settings,
            free_connections: limits.into_iter().flatten().min(),
            idle_slots: row.try_get("idle_slots").map_err(misread)?,
            role: row.try_get("role").map_err(misread)?,
            clock_ahead_us,
            clock_error_us,
            pooling: pooling::of(&one, &pool, limit).await?,
            tables,
            schema: self.schema.as_str().to_owned(),
            on_missing: self.tables,
            connections: self.connections,
            request_timeout: limit,
            prepare: self.prepare,
        })
    }
}

fn total(settings: &BTreeMap<String, String>) -> i64 {
    let number = |name: &str| settings.get(name).and_then(|text| text.parse::<i64>().ok());
    number("max_connections").unwrap_or(i64::MAX) - number("superuser_reserved_connections").unwrap_or(0)
}

/// A limit of -1 is none.
fn limit_of(limit: i64) -> Option<i64> {
    Some(limit).filter(|limit| *limit >= 0)
}

async fn clock(client: &Client) -> Result<(i64, i64)> {
    let failed = |e| statement("reading the server's clock", e);
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
    };
    let text = "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::int8";
    let before = now();
    let row = client.query_typed_one(text, &[]).await.map_err(failed)?;
    let after = now();
    let server: i64 = row.try_get(0).map_err(failed)?;
    Ok((server - (before + after) / 2, after - before))
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            let message = format!(
                "postgres: no answer in {limit:?} (with_request_timeout, request_timeout_ms=N in a URL)"
            );
            Err(Error::new(ErrorKind::Unavailable, message))
        }
    }
}
