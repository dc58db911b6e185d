//! The source of connections, and the thread that keeps them alive.

mod hosts;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ackonce::{Error, ErrorKind};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Connection, ConnectionProperties};
use tokio::runtime::{Builder, Handle, Runtime};

use self::hosts::Hosts;

/// The time limit for a connection, from the first packet to `connection.open-ok`, with one host.
const CONNECT: Duration = Duration::from_secs(30);
/// The same where there is another host to try.
const CONNECT_ONE_OF_SEVERAL: Duration = Duration::from_secs(10);

/// A connection on its way.
pub type Connecting = Pin<Box<dyn Future<Output = lapin::Result<Connection>> + Send>>;

/// The source of connections. Cloning is cheap; clones share the host that is tried next.
#[derive(Clone)]
pub(crate) enum Source {
    Urls(Result<Arc<Hosts>, String>),
    Given(Arc<Connection>),
    Made(Arc<dyn Fn() -> Connecting + Send + Sync>),
}

impl fmt::Debug for Source {
    /// Never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Urls(Ok(hosts)) => fmt::Display::fmt(hosts, f),
            Self::Urls(Err(why)) => write!(f, "unusable URL: {why}"),
            Self::Given(_) => f.write_str("a given connection"),
            Self::Made(_) => f.write_str("a connector"),
        }
    }
}

impl Source {
    pub(crate) fn urls<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Urls(Hosts::parse(urls).map(Arc::new))
    }

    /// # Errors
    /// [`ErrorKind::Config`]: a URL that cannot be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Urls(Err(why)) => {
                Err(Error::new(ErrorKind::Config, format!("the RabbitMQ URL cannot be used: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// A connection: a new one unless one was given. Each host is tried once, beginning with the one after the last
    /// failure.
    ///
    /// # Errors
    /// The answer of the last host that may be different next time; of the first one if all refuse.
    pub(crate) async fn connect(&self, name: &str, scope: &str) -> Result<Arc<Connection>, Trouble> {
        let hosts = match self {
            Self::Given(connection) => return Ok(connection.clone()),
            Self::Made(make) => return open(make(), CONNECT).await,
            Self::Urls(Err(why)) => return Err(Trouble::Url(why.clone())),
            Self::Urls(Ok(hosts)) => hosts,
        };
        let limit = if hosts.count() > 1 { CONNECT_ONE_OF_SEVERAL } else { CONNECT };
        let mut worst: Option<Trouble> = None;
        for _ in 0..hosts.count() {
            let uri = hosts.current();
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            match open(Box::pin(Connection::connect_uri(uri.clone(), properties)), limit).await {
                Ok(connection) => return Ok(connection),
                Err(trouble) => {
                    tracing::debug!(target: "ackonce", scope, host = %uri.authority.host, %trouble, "a host cannot be used");
                    hosts.failed(uri);
                    if worst.as_ref().is_none_or(|_| !trouble.hopeless()) {
                        worst = Some(trouble);
                    }
                }
            }
        }
        Err(worst.unwrap_or(Trouble::Slow(limit)))
    }

    /// Connects to another host the next time, if there is one.
    pub(crate) fn lost(&self) {
        if let Self::Urls(Ok(hosts)) = self {
            hosts.failed(hosts.current());
        }
    }

    /// True if `connect` would give the same lost connection again.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Given(connection) if {
            let status = connection.status();
            status.closed() || status.errored()
        })
    }

    /// Says goodbye, unless it is the user's own.
    pub(crate) async fn close(&self, connection: &Connection) {
        if !matches!(self, Self::Given(_)) && connection.status().connected() {
            let _ = connection.close(200, "OK".into()).await;
        }
    }
}

/// Left behind rather than cut off when it takes too long: once open, it is dropped and closed.
async fn open(connecting: Connecting, limit: Duration) -> Result<Arc<Connection>, Trouble> {
    match tokio::time::timeout(limit, io()?.spawn(connecting)).await {
        Ok(Ok(connection)) => Ok(Arc::new(connection?)),
        Ok(Err(_)) => Err(Trouble::Thread("connecting panicked".into())),
        Err(_) => Err(Trouble::Slow(limit)),
    }
}

/// Why there is no connection, channel or consumer.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    Url(String),
    Thread(String),
    Slow(Duration),
    Amqp(lapin::Error),
}

impl From<lapin::Error> for Trouble {
    fn from(error: lapin::Error) -> Self {
        Self::Amqp(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "the URL cannot be used: {why}"),
            Self::Thread(why) => f.write_str(why),
            Self::Slow(limit) => write!(f, "the broker did not answer within {limit:?}"),
            Self::Amqp(error) if self.refuses_login() => {
                write!(f, "user or password is not accepted; mend them in the URL: {error}")
            }
            Self::Amqp(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    /// True if the broker answered and refused: the answer stays the same until somebody changes something.
    pub(crate) fn hopeless(&self) -> bool {
        use lapin::ErrorKind as K;
        let Self::Amqp(error) = self else { return matches!(self, Self::Url(_)) };
        match error.kind() {
            K::ProtocolError(error) => matches!(
                error.kind(),
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::NOTIMPLEMENTED)
                    | AMQPErrorKind::Soft(
                        AMQPSoftError::ACCESSREFUSED
                            | AMQPSoftError::NOTFOUND
                            | AMQPSoftError::PRECONDITIONFAILED
                    )
            ),
            K::AuthProviderError(_) | K::InvalidProtocolVersion(_) | K::NoDefaultRuntime => true,
            _ => false,
        }
    }

    /// The broker's own text does not name the part of the URL.
    fn refuses_login(&self) -> bool {
        let Self::Amqp(error) = self else { return false };
        let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return false };
        matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED))
            && error.get_message().as_str().contains("Login was refused")
    }

    pub(crate) fn error(self, what: &str) -> Error {
        let kind = if self.hopeless() { ErrorKind::Config } else { ErrorKind::Unavailable };
        Error::new(kind, what).with_source(self)
    }
}

/// lapin's heartbeats are tasks. On a thread of their own, a handler that blocks the executor does not cost
/// the connection. One thread serves all consumers of the process, for as long as that lives.
fn io() -> Result<Handle, Trouble> {
    static IO: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut io = IO.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*io {
        return Ok(runtime.handle().clone());
    }
    let runtime =
        Builder::new_multi_thread().worker_threads(1).thread_name("ackonce-amqp").enable_all().build();
    let runtime = runtime.map_err(|e| Trouble::Thread(format!("the I/O thread did not start: {e}")))?;
    let handle = runtime.handle().clone();
    *io = Some(runtime);
    Ok(handle)
}
