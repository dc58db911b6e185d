//! One statement, one connection, one round trip.

use std::future::Future;
use std::time::Duration;

use ackonce::{Error, ErrorKind, Repeat, Result};
use deadpool_postgres::{Object, Pool, StatementCache};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error;
use crate::leash::Leash;
use crate::{PostgresConfig, Prepare};

/// A parameter with its type, so that the server need not be asked for it.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Looking and tending is not on the path of a message, and may read a whole table.
const TENDING: Duration = Duration::from_secs(600);

/// The way to the server.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pool: Pool,
    prepare: Prepare,
    request_timeout: Duration,
}

impl Link {
    pub(crate) fn new(pool: Pool, config: &PostgresConfig) -> Self {
        Self { pool, prepare: config.prepare, request_timeout: config.request_timeout }
    }

    /// Runs one statement in a transaction of its own.
    pub(crate) async fn query(&self, doing: &str, text: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let deadline = Instant::now() + self.request_timeout;
        let object = self.object(deadline).await?;
        let mut leash = Leash::new(object, None);
        let Some(object) = leash.object() else { return Err(broken()) };
        let cache = std::sync::Arc::clone(&object.statement_cache);
        let sent = async {
            loop {
                match send(object, &cache, self.prepare, text, params).await {
                    // Rolled back for the sake of another, which has gone on.
                    Err(e) if error::is_conflict(&e) => {}
                    done => return done,
                }
            }
        };
        match timeout_at(deadline, sent).await {
            Ok(Ok(rows)) => {
                leash.release();
                Ok(rows)
            }
            Ok(Err(e)) => {
                if error::spares_connection(&e) {
                    leash.release();
                }
                Err(error::statement(doing, e))
            }
            Err(_) => {
                let message = format!("postgres: {doing}: no answer in {:?}", self.request_timeout);
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// Runs something longer on a connection of its own, which is kept if it succeeds.
    pub(crate) async fn tend<T, F>(&self, work: impl FnOnce(Leash) -> F) -> Result<T>
    where
        F: Future<Output = Result<(T, Leash)>>,
    {
        let object = self.object(Instant::now() + self.request_timeout).await?;
        match tokio::time::timeout(TENDING, work(Leash::new(object, None))).await {
            Ok(done) => {
                let (done, leash) = done?;
                leash.release();
                Ok(done)
            }
            Err(_) => Err(Error::new(ErrorKind::Timeout, format!("postgres: no answer in {TENDING:?}"))),
        }
    }

    async fn object(&self, deadline: Instant) -> Result<Object> {
        match timeout_at(deadline, self.pool.get()).await {
            Ok(object) => object.map_err(error::pool),
            Err(_) => {
                let message = format!(
                    "postgres: no connection in {:?}: the server cannot be reached, or all are in use \
                     (with_connections)",
                    self.request_timeout
                );
                Err(Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe))
            }
        }
    }
}

/// Sends one statement, prepared or not.
pub(crate) async fn send(
    client: &Client,
    cache: &StatementCache,
    prepare: Prepare,
    text: &str,
    params: &[Param<'_>],
) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
    match prepare {
        Prepare::Never => client.query_typed(text, params).await,
        Prepare::Cached => {
            let types: Vec<Type> = params.iter().map(|(_, t)| t.clone()).collect();
            let statement = cache.prepare_typed(client, text, &types).await?;
            let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
            client.query(&statement, &values).await
        }
    }
}

/// For what cannot be: a connection that was given back while it was in use.
pub(crate) fn broken() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: the connection is gone")
}
