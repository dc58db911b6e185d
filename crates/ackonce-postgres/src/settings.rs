//! How inbox transactions behave.

use std::time::Duration;

/// How the transactions of a [`PostgresInbox`](crate::PostgresInbox) behave. Times are set for each transaction
/// alone (`SET LOCAL`), so they hold behind a pooler too.
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
    /// How long a completed message is remembered, from its completion (default: as the runner's
    /// `Settings::window` says, or 7 days without a runner). It must outlast the latest possible redelivery.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// The most transactions at once (default 10, at least 1); further handlers wait for a connection. They are
    /// opened when needed and kept. Of no effect with [`PostgresInbox::with_pool`](crate::PostgresInbox::with_pool).
    #[must_use]
    pub fn with_connections(mut self, most: usize) -> Self {
        self.connections = most.max(1);
        self
    }

    /// How long a statement waits for a lock (default 5 s; `None`: as the server says). After it the transaction
    /// is rolled back and the message runs again, its attempt not counted.
    #[must_use]
    pub fn with_lock_timeout(mut self, wait: Option<Duration>) -> Self {
        self.lock_timeout = wait;
        self
    }

    /// How long a statement may take (default `None`: as the server says). After it the transaction is rolled
    /// back and the attempt counts.
    #[must_use]
    pub fn with_statement_timeout(mut self, wait: Option<Duration>) -> Self {
        self.statement_timeout = wait;
        self
    }

    /// How long a transaction may wait for its handler between two statements (default 60 s; `None`: as the server
    /// says). After it the server ends it, and its locks with it, and the attempt counts. So it is with one whose
    /// host is gone, which the server's TCP would notice after hours.
    #[must_use]
    pub fn with_idle_timeout(mut self, wait: Option<Duration>) -> Self {
        self.idle_timeout = wait;
        self
    }

    /// The columns that set them.
    pub(crate) fn columns(&self) -> String {
        let times = [
            ("lock_timeout", self.lock_timeout),
            ("statement_timeout", self.statement_timeout),
            ("idle_in_transaction_session_timeout", self.idle_timeout),
        ];
        let set = times.iter().filter_map(|(name, wait)| {
            // Zero would be for ever, and more than this is refused.
            let ms = wait.as_ref()?.as_millis().clamp(1, 1 << 30);
            Some(format!(", set_config('{name}', '{ms}', true)"))
        });
        set.collect()
    }
}
