//! The connection over time: made when it is needed, looked at before it is trusted, given up when it breaks.
//!
//! The driver's own `ConnectionManager` would reconnect by itself, to whatever answers then: after a failover
//! that may be a replica, or a server that evicts. Here every new connection is checked before its first trip.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ackonce::{Error, Result};
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

/// One store's connection.
pub(crate) struct Link {
    pub(crate) address: Address,
    pub(crate) config: RedisConfig,
    pub(crate) secrets: Secrets,
    state: AsyncMutex<State>,
    weaknesses: Mutex<Vec<String>>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// Of the connections made so far, so that the one that broke is given up and not its successor.
    number: u64,
    /// The last attempt to connect that failed, for those who waited for it.
    failed: Option<(Instant, Error)>,
}

#[derive(Clone)]
struct Open {
    connection: Connection,
    number: u64,
    checked: Instant,
}

impl Link {
    pub(crate) fn new(address: Address, config: RedisConfig) -> Self {
        Self {
            address,
            config,
            secrets: Secrets::default(),
            state: AsyncMutex::default(),
            weaknesses: Mutex::default(),
        }
    }

    /// What was found to weaken the promise when the server was last looked at.
    pub(crate) fn weaknesses(&self) -> Vec<String> {
        self.weaknesses.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            Ok(replies) => Ok(replies),
            Err(trouble) => {
                if trouble.is_broken {
                    self.give_up(open.number).await;
                }
                Err(trouble.error)
            }
        }
    }

    async fn open(&self) -> Result<Open> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        // Everybody waits here while one connects; its failure is theirs, they need not fail one by one.
        if let Some((at, error)) = &state.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let ready = self.ready(&mut state).await;
        if let Err(error) = &ready {
            state.open = None;
            state.failed = Some((Instant::now(), error.clone()));
        }
        ready
    }

    async fn ready(&self, state: &mut State) -> Result<Open> {
        let open = match state.open.take() {
            Some(open) if open.checked.elapsed() < self.config.check_interval => open,
            Some(mut open) => {
                self.check(&mut open.connection).await?;
                Open { checked: Instant::now(), ..open }
            }
            None => {
                let mut connection = Connection::open(&self.address, &self.config).await?;
                self.check(&mut connection).await?;
                state.number += 1;
                Open { connection, number: state.number, checked: Instant::now() }
            }
        };
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
        let mut weaknesses = Vec::new();
        for server in self.servers(connection).await.map_err(connecting)? {
            for weakness in server.judge(rules)? {
                if !weaknesses.contains(&weakness) {
                    weaknesses.push(weakness);
                }
            }
            if let Some(limit) = server.wasteful() {
                tracing::warn!(target: "ackonce", store = self.address.name, "{} of {}", limit, server.name);
            }
        }
        *self.weaknesses.lock().unwrap_or_else(PoisonError::into_inner) = weaknesses;
        self.secrets.set_current(self.secret(connection).await?);
        Ok(())
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
