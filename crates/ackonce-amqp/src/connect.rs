//! Where connections come from, and the thread that keeps them alive.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ackonce::{Error, ErrorKind};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use tokio::runtime::{Builder, Handle, Runtime};

/// How long a connection may take from the first packet to `connection.open-ok`.
const CONNECT: Duration = Duration::from_secs(30);
/// How long the broker may take to say goodbye.
const CLOSE: Duration = Duration::from_secs(5);
/// In seconds, unless the URL says otherwise; a dead peer is noticed after twice that. RabbitMQ's own 60 lets a
/// dead link pass unnoticed for minutes; under 5 a loaded machine is taken for a dead one.
const HEARTBEAT: u16 = 20;

/// A connection on its way.
pub type Connecting = Pin<Box<dyn Future<Output = lapin::Result<Connection>> + Send>>;

/// Where connections come from. Cloning is cheap.
#[derive(Clone)]
pub(crate) enum Source {
    Url(Result<Arc<AMQPUri>, String>),
    Given(Arc<Connection>),
    Made(Arc<dyn Fn() -> Connecting + Send + Sync>),
}

impl fmt::Debug for Source {
    /// Never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(Ok(uri)) => write!(f, "{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost),
            Self::Url(Err(why)) => write!(f, "unusable URL: {why}"),
            Self::Given(_) => f.write_str("a given connection"),
            Self::Made(_) => f.write_str("a connector"),
        }
    }
}

impl Source {
    pub(crate) fn url(url: &str) -> Self {
        Self::Url(url.parse().and_then(|mut uri: AMQPUri| {
            // Without one, lapin would speak plaintext to a TLS port, password and all.
            if uri.scheme == AMQPScheme::AMQPS && !cfg!(feature = "tls") {
                return Err("amqps:// needs ackonce-amqp with its feature `tls`".to_owned());
            }
            uri.query.heartbeat.get_or_insert(HEARTBEAT);
            Ok(Arc::new(uri))
        }))
    }

    /// A connection: a new one, but where one was given.
    ///
    /// # Errors
    /// What lapin or the URL says; [`hopeless`] tells whether to try again.
    pub(crate) async fn connect(&self, name: &str) -> Result<Arc<Connection>, Trouble> {
        let connecting: Connecting = match self {
            Self::Given(connection) => return Ok(connection.clone()),
            Self::Made(make) => make(),
            Self::Url(Err(why)) => return Err(Trouble::Url(why.clone())),
            Self::Url(Ok(uri)) => {
                let properties = ConnectionProperties::default().with_connection_name(name.into());
                Box::pin(Connection::connect_uri(AMQPUri::clone(uri), properties))
            }
        };
        // Left behind rather than cut off when it takes too long: once open, it is dropped and closed.
        match tokio::time::timeout(CONNECT, io()?.spawn(connecting)).await {
            Ok(Ok(connection)) => Ok(Arc::new(connection?)),
            Ok(Err(_)) => Err(Trouble::Thread("connecting panicked".into())),
            Err(_) => Err(Trouble::Slow),
        }
    }

    /// Whether `connect` would give the same lost connection again.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Given(connection) if {
            let status = connection.status();
            status.closed() || status.errored()
        })
    }

    /// Says goodbye, unless it is the user's own.
    pub(crate) async fn close(&self, connection: &Connection) {
        if !matches!(self, Self::Given(_)) && connection.status().connected() {
            let _ = tokio::time::timeout(CLOSE, connection.close(200, "OK".into())).await;
        }
    }
}

/// Why there is no connection, channel or consumer.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    Url(String),
    Thread(String),
    Slow,
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
            Self::Slow => write!(f, "the broker did not answer within {CONNECT:?}"),
            Self::Amqp(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    /// Whether it will be the same until somebody changes something: what a consumer that is just starting
    /// should say instead of trying again.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_a_heartbeat_and_keeps_its_own() {
        let heartbeat = |url| match Source::url(url) {
            Source::Url(Ok(uri)) => uri.query.heartbeat,
            other => panic!("{other:?}"),
        };
        assert_eq!(heartbeat("amqp://localhost/%2f"), Some(HEARTBEAT));
        assert_eq!(heartbeat("amqp://localhost/%2f?heartbeat=5"), Some(5));
    }

    #[test]
    fn a_url_that_asks_for_tls_gets_it_or_is_refused() {
        let usable = matches!(Source::url("amqps://u:secret@h/%2f"), Source::Url(Ok(_)));
        assert_eq!(usable, cfg!(feature = "tls"), "never plaintext");
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(format!("{:?}", Source::url("amqp://u:secret@h:1/%2f")), "h:1//");
        let broken = format!("{:?}", Source::url("http://u:secret@h"));
        assert!(!broken.contains("secret"), "{broken}");
    }
}
