//! The connection over time: made when it is needed, looked at before it is trusted, given up when it breaks.
//!
//! The driver's own `ConnectionManager` would reconnect by itself, to whatever answers then: after a failover
//! that may be a replica, or a server that evicts. Here every new connection is checked before its first trip.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ackonce::{Error, ErrorKind, Repeat, Result};
use redis::{Cmd, RedisResult, Value};
use tokio::sync::Mutex as AsyncMutex;

use crate::RedisConfig;
use crate::address::Address;
use crate::check::{Rules, SETTINGS, Server, parse_info};
use crate::connection::Connection;
use crate::error::connecting;
use crate::names::{Secret, Secrets, secret_key};
use crate::reply::misread;
use crate::script::Call;

/// The longest that a refusal of the server's settings stands without another look.
const REFUSAL: Duration = Duration::from_secs(1);

/// One store's connection.
pub(crate) struct Link {
    pub(crate) address: Address,
    pub(crate) config: RedisConfig,
    pub(crate) secrets: Secrets,
    state: AsyncMutex<State>,
    found: Mutex<Option<Found>>,
    /// Whether a trip was ever answered.
    worked: AtomicBool,
}

/// What was found when the server was last looked at.
struct Found {
    weaknesses: Vec<String>,
    wasteful: Vec<String>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// Of the connections made so far, so that the one that broke is given up and not its successor.
    number: u64,
    /// The last attempt to connect, or to look at the server, that failed, for those who waited for it.
    failed: Option<(Instant, Error)>,
    /// Whether a server was ever good enough: what worked will work again, so that its refusals are waited for.
    started: bool,
    /// Whether it was said that the server's settings are refused.
    said: bool,
}

#[derive(Clone)]
struct Open {
    connection: Connection,
    number: u64,
    /// When the server was last looked at and found good.
    checked: Option<Instant>,
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
        }
    }

    /// What was found to weaken the promise when the server was last looked at.
    pub(crate) fn weaknesses(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().map_or_else(Vec::new, |found| found.weaknesses.clone())
    }

    /// Connects if need be, and looks at the server if that is due.
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
                Err(if waits { trouble.error.with_repeat(Repeat::Unknown) } else { trouble.error })
            }
        }
    }

    async fn open(&self) -> Result<Open> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        // Everybody waits here while one connects; its failure is theirs, they need not fail one by one. Nor is a
        // server whose settings are refused looked at for each of them.
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
                    tracing::info!(target: "ackonce", store = self.address.name, "the server is accepted again");
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

    /// A setting that turned bad is somebody's to set back, a password somebody's to change: nothing was asked of the
    /// server meanwhile, and a consumer that ran yesterday waits for it instead of ending.
    fn while_running(&self, state: &mut State, error: Error) -> Error {
        if !state.started || error.kind() != ErrorKind::Config {
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
                Open { connection, number: state.number, checked: None }
            }
        };
        if open.checked.is_none_or(|at| at.elapsed() >= self.config.check_interval) {
            open.checked = None;
            if let Err(error) = self.check(&mut open.connection).await {
                // Settings are looked at again on the same connection. Any other trouble may be over on a new one:
                // a name may lead to the new primary by then.
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

    /// Looks at settings and role, and takes up the store's secret.
    async fn check(&self, connection: &mut Connection) -> Result<()> {
        let rules = Rules {
            unsafe_server: self.config.unsafe_server,
            replicas: self.config.replicas,
            is_cluster: self.address.is_cluster,
        };
        let (mut weaknesses, mut wasteful) = (Vec::new(), Vec::new());
        for server in self.servers(connection).await.map_err(connecting)? {
            for weakness in server.judge(rules)? {
                if !weaknesses.contains(&weakness) {
                    weaknesses.push(weakness);
                }
            }
            wasteful.extend(server.wasteful().map(|limit| format!("{limit} of {}", server.name)));
        }
        self.say_news(Found { weaknesses, wasteful });
        self.secrets.set_current(self.secret(connection).await?);
        Ok(())
    }

    /// Each look finds the same; what is new is said. Weaknesses at start are printed by the consumer.
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
            tracing::warn!(target: "ackonce", store, "weakened since it was last looked at: {weakness}");
        }
        *last = Some(found);
    }

    async fn servers(&self, connection: &mut Connection) -> RedisResult<Vec<Server>> {
        let mut config = Cmd::new();
        config.arg("CONFIG").arg("GET").arg(&SETTINGS);
        let infos = connection.ask_all(&redis::cmd("INFO")).await?;
        // It is forbidden in many places, renamed in others.
        let mut configs = unless_refused(connection.ask_all(&config).await)?.unwrap_or_default();
        let servers = infos.into_iter().map(|(name, info)| {
            let at = configs.iter().position(|(of, _)| *of == name);
            let config = at.and_then(|at| redis::from_redis_value(configs.swap_remove(at).1).ok());
            let info = redis::from_redis_value::<String>(info).ok().as_deref().map(parse_info);
            Server { name, info, config }
        });
        Ok(servers.collect())
    }

    /// The secret of the store, made by whoever comes first.
    async fn secret(&self, connection: &mut Connection) -> Result<Secret> {
        let name = secret_key(&self.config.prefix);
        let fresh: Secret = rand::random();
        let mut set = Cmd::new();
        set.arg("SET").arg(&name).arg(fresh.as_slice()).arg("NX");
        let mut get = Cmd::new();
        get.arg("GET").arg(&name);
        // Looking first keeps it working on a server that is out of memory.
        for cmd in [None, Some(&set)] {
            if let Some(cmd) = cmd {
                connection.ask(cmd).await.and_then(Value::extract_error).map_err(connecting)?;
            }
            let found = connection.ask(&get).await.and_then(Value::extract_error).map_err(connecting)?;
            if let Value::BulkString(bytes) = found {
                return bytes.try_into().map_err(|_| crate::row::corrupt(&format!("{name} is not a secret")));
            }
        }
        Err(misread("the store's secret was written and is not there"))
    }
}

/// `None` where the server itself said no.
fn unless_refused<T>(answer: RedisResult<T>) -> RedisResult<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
