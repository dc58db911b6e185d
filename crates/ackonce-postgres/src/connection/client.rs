//! A client of the server: each statement is one transaction and one round trip on one connection.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use deadpool_postgres::{Object, Pool};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;

use super::guard::ConnectionGuard;
use super::statement::{Param, transact};
use crate::check::Checks;
use crate::error;
use crate::records::{IN_ORDER, Texts};
use crate::{PostgresConfig, Prepare};

/// The time limit of an inspection, which may read a whole table.
const INSPECTION: Duration = Duration::from_secs(600);

pub(crate) const HELD: &str =
    "another transaction holds a record (with_lock_timeout, lock_timeout_ms=N in a URL)";

/// The time for which a statement waits for each lock.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Locks {
    /// The lock timeout.
    Wait,
    /// A tenth of the lock timeout: an earlier statement has waited already.
    Hurry,
    /// Half of the request timeout: no other request waits for the answer.
    Alone,
    /// The lock timeout, for an inspection or a sweep.
    Inspect,
}

/// The pool of the store's connections, and the time limits of its statements.
#[derive(Debug, Clone)]
pub(crate) struct PoolClient {
    pool: Pool,
    prepare: Prepare,
    request_timeout: Duration,
    begin: Arc<[String; 4]>,
    pub(crate) checks: Arc<Checks>,
    running: Arc<Running>,
}

/// The state of a store whose server was accepted once.
#[derive(Debug, Default)]
struct Running {
    started: AtomicBool,
    /// It was said that the server refuses the role.
    said: AtomicBool,
}

impl Running {
    /// A password that was changed and a right that was taken away are waited for, as a server that is away is: both were
    /// right before. A server whose settings lose records is not.
    fn waits(&self, error: Error) -> Error {
        if !self.started.load(Ordering::Relaxed) || !error::refuses_role(&error) {
            return error;
        }
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "ackonce", error = %ackonce::chain(&error),
                "postgres: the server refuses the role: nothing is claimed or settled until that is set right");
        }
        error.with_repeat(Repeat::Safe)
    }

    fn answered(&self) {
        if self.said.load(Ordering::Relaxed) && self.said.swap(false, Ordering::Relaxed) {
            tracing::error!(target: "ackonce", "postgres: the server takes the role again");
        }
    }
}

impl PoolClient {
    pub(crate) fn new(pool: Pool, config: &PostgresConfig) -> Self {
        let (prepare, request_timeout) = (config.prepare, config.request_timeout);
        let wait = config.lock_timeout;
        let mut begin =
            [wait, wait / 10, request_timeout / 2, wait].map(|wait| Texts::begin(wait, request_timeout));
        begin[Locks::Inspect as usize].push_str(IN_ORDER);
        let (begin, checks) = (begin.into(), Arc::new(Checks::new(config)));
        Self { pool, prepare, request_timeout, begin, checks, running: Arc::default() }
    }

    /// The server was accepted, and has the store's tables: from now on a refusal is waited for.
    pub(crate) fn has_started(&self) {
        self.running.started.store(true, Ordering::Relaxed);
    }

    /// The deadline of a request that starts now.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        // For a timeout that the clock cannot represent.
        now.checked_add(self.request_timeout).unwrap_or(now + INSPECTION)
    }

    /// The deadline for the locks of a batch that starts now.
    pub(crate) fn half_time(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.request_timeout / 2).unwrap_or(now + INSPECTION)
    }

    /// Runs one statement in a transaction of its own.
    pub(crate) async fn query(&self, doing: &str, text: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        self.query_by(Locks::Inspect, doing, text, params).await
    }

    pub(crate) async fn query_by(
        &self,
        locks: Locks,
        doing: &str,
        text: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>> {
        let deadline = self.deadline();
        let mut connection = ConnectionGuard::new(self.object(deadline).await?, None);
        let object = connection.object()?;
        let cache = Arc::clone(&object.statement_cache);
        let begin = &self.begin[locks as usize];
        let sent = async {
            loop {
                match transact(object, &cache, self.prepare, begin, text, params).await {
                    // The server rolled this one back, and the transaction in conflict has gone on.
                    Err(e) if error::is_conflict(&e) => {}
                    done => return done,
                }
            }
        };
        match timeout_at(deadline, sent).await {
            Ok(Ok(rows)) => {
                connection.release();
                self.running.answered();
                Ok(rows)
            }
            Ok(Err(e)) => {
                if error::spares_connection(&e) {
                    connection.release();
                }
                match error::is_locked(&e) {
                    true => Err(Error::new(ErrorKind::Locked, format!("postgres: {doing}: {HELD}"))),
                    false => Err(self.running.waits(error::statement(doing, e))),
                }
            }
            Err(_) => {
                let message = format!(
                    "postgres: {doing}: no answer in {:?} (with_request_timeout, request_timeout_ms=N in a URL)",
                    self.request_timeout
                );
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// Runs longer work on a connection of its own, which returns to the pool if the work succeeds.
    pub(crate) async fn with_connection<T, F>(&self, work: impl FnOnce(ConnectionGuard) -> F) -> Result<T>
    where
        F: Future<Output = Result<(T, ConnectionGuard)>>,
    {
        let object = self.object(self.deadline()).await?;
        match tokio::time::timeout(INSPECTION, work(ConnectionGuard::new(object, None))).await {
            Ok(done) => {
                let (done, connection) = done?;
                connection.release();
                Ok(done)
            }
            Err(_) => Err(Error::new(ErrorKind::Timeout, format!("postgres: no answer in {INSPECTION:?}"))),
        }
    }

    async fn object(&self, deadline: Instant) -> Result<Object> {
        let connected = async {
            let object = self.pool.get().await.map_err(error::pool)?;
            if Object::metrics(&object).recycle_count > 0 {
                return Ok(object);
            }
            // A new connection may lead to another server than the last one, or to the same one with other settings.
            let mut connection = ConnectionGuard::new(object, None);
            self.checks.run(connection.object()?).await?;
            connection.take()
        };
        match timeout_at(deadline, connected).await {
            Ok(object) => object.map_err(|error| self.running.waits(error)),
            Err(_) => {
                let message = format!(
                    "postgres: no connection in {:?}: the server cannot be reached, or all are in use \
                     (with_connections, connections=N in a URL)",
                    self.request_timeout
                );
                Err(Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe))
            }
        }
    }
}
