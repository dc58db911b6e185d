//! The settings of inbox transactions.

use std::time::Duration;

use crate::records::millis;

/// The settings of a [`PostgresInbox`](crate::PostgresInbox)'s transactions. Times are set for each transaction
/// alone (`SET LOCAL`), so they hold behind a pooler too.
///
/// Each running transaction holds a connection of its own. Count them in the server's `max_connections`, beside the store's
/// ([`PostgresConfig::with_connections`](crate::PostgresConfig::with_connections)), for each process.
///
/// ```no_run
/// use std::time::Duration;
///
/// use ackonce::{Context, Failure};
/// use ackonce_postgres::{InboxSettings, PostgresStore, tokio_postgres::Transaction};
///
/// # async fn run() -> Result<(), ackonce::Error> {
/// # let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// let settings = InboxSettings::default()
///     .with_connections(4)
///     .with_statement_timeout(Some(Duration::from_secs(10)));
/// let inbox = store
///     .inbox(|_tx: &Transaction<'_>, _cx: Context, _amount: i64| Box::pin(async { Ok::<_, Failure>(()) }))
///     .with_settings(settings);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct InboxSettings {
    pub(crate) window: Option<Duration>,
    pub(crate) connections: usize,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
}

impl Default for InboxSettings {
    fn default() -> Self {
        Self {
            window: None,
            connections: 10,
            lock_timeout: Some(Duration::from_secs(5)),
            statement_timeout: None,
            idle_timeout: Some(Duration::from_secs(60)),
        }
    }
}

impl InboxSettings {
    /// Sets the time for which a completed message is remembered, from its completion (default: the runner's
    /// `Settings::window`, or 7 days without a runner). It must outlast the latest possible redelivery.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// Sets the most transactions at once (default 10, at least 1); further handlers wait for a connection. Connections are
    /// opened when needed and kept. It has no effect with [`PostgresInbox::with_pool`](crate::PostgresInbox::with_pool).
    #[must_use]
    pub fn with_connections(mut self, most: usize) -> Self {
        self.connections = most.max(1);
        self
    }

    /// Sets the time for which a statement waits for a lock (default 5 s; `None`: the server's setting). After it the
    /// transaction is rolled back and the message runs again; the attempt is not counted.
    #[must_use]
    pub fn with_lock_timeout(mut self, wait: Option<Duration>) -> Self {
        self.lock_timeout = wait;
        self
    }

    /// Sets the time limit of a statement (default `None`: the server's setting). After it the transaction is rolled
    /// back and the attempt counts.
    #[must_use]
    pub fn with_statement_timeout(mut self, wait: Option<Duration>) -> Self {
        self.statement_timeout = wait;
        self
    }

    /// Sets the time limit between two statements of a handler (default 60 s; `None`: the server's
    /// setting). After it the server ends the transaction, which frees its locks, and the attempt counts. The same ends the
    /// transaction of a host that is gone; TCP alone would notice that after hours.
    #[must_use]
    pub fn with_idle_timeout(mut self, wait: Option<Duration>) -> Self {
        self.idle_timeout = wait;
        self
    }

    /// The columns of a SELECT that apply the settings.
    pub(crate) fn columns(&self) -> String {
        let times = [
            ("lock_timeout", self.lock_timeout),
            ("statement_timeout", self.statement_timeout),
            ("idle_in_transaction_session_timeout", self.idle_timeout),
        ];
        let set = times
            .iter()
            .filter_map(|(name, wait)| Some(format!(", set_config('{name}', '{}', true)", millis((*wait)?))));
        set.collect()
    }
}
