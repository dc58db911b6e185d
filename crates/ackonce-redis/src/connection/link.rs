//! The life of a connection: opened on demand, checked before use, dropped when it breaks.
//!
//! The driver's own `ConnectionManager` would reconnect by itself, to any server that answers: after a failover
//! that may be a replica, or a server that evicts. Here every new connection is checked before its first trip.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ackonce::store::{OnUnsafe, Repeat};
use ackonce::{Error, ErrorKind, Result};
use tokio::sync::Mutex as AsyncMutex;

use super::secret::secret;
use super::settings::settings;
use super::{Address, Connection, rights};
use crate::RedisConfig;
use crate::check::Rules;
use crate::error::{Trouble, connecting};
use crate::records::{Call, Eviction, Mode, Secrets};

/// The time for which a refusal of the server's settings stands before the next check.
const REFUSAL: Duration = Duration::from_secs(1);

/// One store's connection.
pub(crate) struct Link {
    pub(crate) address: Address,
    pub(crate) config: RedisConfig,
    pub(crate) secrets: Secrets,
    state: AsyncMutex<State>,
    found: Mutex<Option<Found>>,
    /// True once any trip was answered.
    worked: AtomicBool,
    /// True once a server was seen to have evicted keys.
    evicted: AtomicBool,
    /// The time of the last warning about keys that cannot be read.
    said_unreadable: Mutex<Option<Instant>>,
}

/// The findings of the last check of the server.
struct Found {
    weaknesses: Vec<String>,
    wasteful: Vec<String>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// The number of connections made so far; it tells the one that broke from its successor.
    number: u64,
    /// The last attempt to connect or to check the server that failed, for the callers that waited for it.
    failed: Option<(Instant, Error)>,
    /// True once a server passed the check: such a server will pass again, so callers wait out its refusals.
    started: bool,
    /// True once the refusal of the server's settings was logged.
    said: bool,
}

#[derive(Clone)]
struct Open {
    connection: Connection,
    number: u64,
    /// The time at which the server last passed the check.
    checked: Option<Instant>,
    /// True once the user was found to have all rights.
    has_rights: bool,
}

impl Link {
    pub(crate) fn new(address: Address, config: RedisConfig) -> Self {
        Self {
            address,
            config,
            secrets: Secrets::default(),
            state: AsyncMutex::default(),
            found: Mutex::default(),
            worked: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            said_unreadable: Mutex::default(),
        }
    }

    /// The weaknesses that the last check of the server found.
    pub(crate) fn weaknesses(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().map_or_else(Vec::new, |found| found.weaknesses.clone())
    }

    /// The settings that every call carries.
    pub(crate) fn mode(&self) -> Mode {
        Mode { eviction: self.eviction(), names: self.config.names }
    }

    /// The eviction of the store's keys, as of the last check of the server.
    fn eviction(&self) -> Eviction {
        match self.config.unsafe_server {
            OnUnsafe::Downgrade => Eviction::Allowed,
            OnUnsafe::Refuse if self.evicted.load(Ordering::Relaxed) => Eviction::Seen,
            OnUnsafe::Refuse => Eviction::Unseen,
        }
    }

    /// Connects if need be, and checks the server if that is due.
    pub(crate) async fn connect(&self) -> Result<()> {
        self.open().await.map(|_| ())
    }

    /// Sends all calls at once and returns their replies, in order.
    pub(crate) async fn trip(self: Arc<Self>, calls: Arc<Vec<Call>>) -> Result<Vec<Vec<u8>>> {
        let mut open = self.open().await?;
        let answer = open.connection.send(&calls, self.config.replicas).await;
        match answer {
            Ok(replies) => {
                self.worked.store(true, Ordering::Relaxed);
                Ok(replies)
            }
            Err(trouble) => {
                if trouble.is_broken {
                    self.give_up(open.number).await;
                }
                // A right that was taken away will be given back.
                let waits = trouble.error.kind() == ErrorKind::Config && self.worked.load(Ordering::Relaxed);
                let error = self.with_rights(&open.connection, trouble).await;
                Err(if waits { error.with_repeat(Repeat::Unknown) } else { error })
            }
        }
    }

    /// The error of a trip; an error about rights names those that the user lacks.
    async fn with_rights(&self, connection: &Connection, trouble: Trouble) -> Error {
        if !trouble.lacks_right {
            return trouble.error;
        }
        match rights::refusal(&rights::missing(connection, &self.config).await) {
            Some(named) => named.with_source(trouble.error),
            None => trouble.error,
        }
    }

    async fn open(&self) -> Result<Open> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        // All callers wait here while one connects, and share its failure instead of failing one by one. Nor is a
        // server whose settings are refused checked for each of them.
        if let Some((at, error)) = &state.failed {
            let stands = state.open.is_some() && at.elapsed() < REFUSAL.min(self.config.check_interval);
            if *at >= asked || stands {
                return Err(error.clone());
            }
        }
        match self.ready(&mut state).await {
            Ok(open) => {
                state.failed = None;
                state.started = true;
                if std::mem::take(&mut state.said) {
                    tracing::error!(target: "ackonce", store = self.address.name, "the server is accepted again");
                }
                Ok(open)
            }
            Err(error) => {
                let error = self.while_running(&mut state, error);
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// An operator can set a setting or a password back. No request was sent to the
    /// server meanwhile, and a consumer that was running waits instead of ending.
    fn while_running(&self, state: &mut State, error: Error) -> Error {
        if !state.started || !matches!(error.kind(), ErrorKind::Config | ErrorKind::NewerSchema) {
            return error;
        }
        if !std::mem::replace(&mut state.said, true) {
            tracing::error!(target: "ackonce", store = self.address.name, error = %ackonce::chain(&error),
                "the server is refused: nothing is claimed or settled until it is set right");
        }
        error.with_repeat(Repeat::Safe)
    }

    async fn ready(&self, state: &mut State) -> Result<Open> {
        let mut open = match state.open.take() {
            Some(open) => open,
            None => {
                let connection = Connection::open(&self.address, &self.config).await?;
                state.number += 1;
                Open { connection, number: state.number, checked: None, has_rights: false }
            }
        };
        if open.checked.is_none_or(|at| at.elapsed() >= self.config.check_interval) {
            open.checked = None;
            if let Err(error) = self.check(&mut open).await {
                // Settings are checked again on the same connection. Any other error may be over on a new one:
                // the host name may lead to the new primary by then.
                if error.kind() == ErrorKind::Config {
                    state.open = Some(open);
                }
                return Err(error);
            }
            open.checked = Some(Instant::now());
        }
        Ok(state.open.insert(open).clone())
    }

    async fn give_up(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.open.as_ref().is_some_and(|open| open.number == number) {
            state.open = None;
        }
    }

    /// Checks settings, role and rights, and reads the store's secret.
    async fn check(&self, open: &mut Open) -> Result<()> {
        let connection = &mut open.connection;
        let rules = Rules {
            unsafe_server: self.config.unsafe_server,
            replicas: self.config.replicas,
            is_cluster: self.address.is_cluster,
        };
        let (mut weaknesses, mut wasteful) = (Vec::new(), Vec::new());
        for server in settings(connection).await.map_err(connecting)? {
            self.evicted.fetch_or(server.has_evicted(), Ordering::Relaxed);
            for weakness in server.check_server(rules)? {
                if !weaknesses.contains(&weakness) {
                    weaknesses.push(weakness);
                }
            }
            wasteful.extend(server.wasteful().map(|limit| format!("{limit} of {}", server.name)));
        }
        self.say_news(Found { weaknesses, wasteful });
        if !open.has_rights {
            if let Some(error) = rights::refusal(&rights::missing(connection, &self.config).await) {
                return Err(error);
            }
            open.has_rights = true;
        }
        self.secrets.set_current(secret(connection, &self.config.prefix).await?);
        Ok(())
    }

    /// Each check finds the same; only changes are logged. The consumer prints the weaknesses at start.
    fn say_news(&self, found: Found) {
        let mut last = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let store = &self.address.name;
        let known = last.as_ref();
        for limit in found.wasteful.iter().filter(|l| known.is_none_or(|known| !known.wasteful.contains(l))) {
            tracing::warn!(target: "ackonce", store, "{limit}");
        }
        for weakness in
            found.weaknesses.iter().filter(|w| known.is_some_and(|known| !known.weaknesses.contains(w)))
        {
            tracing::warn!(target: "ackonce", store, "weakened since the last check: {weakness}");
        }
        *last = Some(found);
    }

    /// Logs the keys that a walk could not read, at most once a minute, since each sweep may meet them.
    pub(crate) fn say_unreadable(&self, keys: &[String]) {
        if keys.is_empty() {
            return;
        }
        let mut said = self.said_unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= Duration::from_secs(60)) {
            *said = Some(Instant::now());
            let (store, more) = (&self.address.name, keys.len().saturating_sub(8));
            tracing::warn!(target: "ackonce", store, keys = ?&keys[..keys.len() - more], more,
                "these keys hold something that cannot be read: it is damaged, or a newer version or another program wrote it");
        }
    }
}
