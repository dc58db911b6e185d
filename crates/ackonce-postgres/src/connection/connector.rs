//! Connection pools for one server, with the type of the TLS connector erased.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::{BoxFuture, Either, poll_fn, select};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Socket};

use crate::error::{START_TIMEOUT, no_answer, unsent};

/// The time limit of a connection attempt, unless the URL sets one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The idle time after which TCP sends a keepalive probe; the system's default is two hours.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The highest `max_connections` of a server.
const MOST_CONNECTIONS: usize = 262_143;

/// Called with the payload of each notification.
pub(crate) type Notified = Arc<dyn Fn(&str) + Send + Sync>;
/// A client, and the future that drives its connection.
pub(crate) type Listening = (Client, BoxFuture<'static, Result<(), tokio_postgres::Error>>);
type Listen = dyn Fn(Notified) -> BoxFuture<'static, Result<Listening, tokio_postgres::Error>> + Send + Sync;
type Cancel = dyn Fn(CancelToken) -> BoxFuture<'static, ()> + Send + Sync;

/// Makes pools of connections to one server.
#[derive(Clone)]
pub(crate) struct Connector {
    manager: Arc<dyn Fn() -> Manager + Send + Sync>,
    cancel: Arc<Cancel>,
    listen: Arc<Listen>,
    /// The time limit of a new connection, over all hosts.
    limit: Duration,
}

impl Connector {
    pub(crate) fn new<T>(server: &Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync,
        T::TlsConnect: Send + Sync,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let mut server = server.clone();
        if server.get_connect_timeout().is_none() {
            server.connect_timeout(CONNECT_TIMEOUT);
        }
        server.keepalives_idle(server.get_keepalives_idle().min(KEEPALIVE));
        if server.get_application_name().is_none() {
            server.application_name("ackonce");
        }
        let each = server.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        let hosts = server.get_hosts().len().max(server.get_hostaddrs().len()).max(1);
        let limit =
            each.saturating_mul(u32::try_from(hosts).unwrap_or(u32::MAX)).saturating_add(START_TIMEOUT);
        let for_cancel = tls.clone();
        let (for_listen, listened) = (tls.clone(), server.clone());
        Self {
            limit,
            listen: Arc::new(move |notified| {
                let (tls, server) = (for_listen.clone(), listened.clone());
                Box::pin(async move {
                    let (client, mut connection) = server.connect(tls).await?;
                    let driving = async move {
                        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                            if let AsyncMessage::Notification(notification) = message? {
                                notified(notification.payload());
                            }
                        }
                        Ok(())
                    };
                    let driving: BoxFuture<'static, _> = Box::pin(driving);
                    Ok((client, driving))
                })
            }),
            manager: Arc::new(move || {
                let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
                Manager::from_config(server.clone(), tls.clone(), config)
            }),
            cancel: Arc::new(move |token| {
                let tls = for_cancel.clone();
                Box::pin(async move {
                    if let Err(error) = token.cancel_query(tls).await {
                        tracing::debug!(target: "ackonce", %error, "an abandoned statement could not be cancelled");
                    }
                })
            }),
        }
    }

    pub(crate) fn pool(&self, connections: usize) -> Result<Pool> {
        // The pool makes room for all of them at once.
        if connections > MOST_CONNECTIONS {
            let message = format!(
                "postgres: {connections} connections (with_connections) are more than a server takes, {MOST_CONNECTIONS}"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Pool::builder((self.manager)())
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(self.limit))
            .build()
            .map_err(|e| Error::new(ErrorKind::Config, "postgres: the pool cannot be made").with_source(e))
    }

    /// Opens a connection that hears notifications of that channel.
    pub(crate) async fn listen(&self, channel: &str, notified: Notified) -> Result<Listening> {
        let text = format!("LISTEN \"{}\"", channel.replace('"', "\"\""));
        let listening = async {
            let (client, mut driving) = (self.listen)(notified).await.map_err(unsent)?;
            {
                let listen = pin!(client.batch_execute(&text));
                match select(listen, &mut driving).await {
                    Either::Left((answered, _)) => answered.map_err(unsent)?,
                    Either::Right((ended, _)) => return ended.map_err(unsent).and(Err(closed())),
                }
            }
            Ok((client, driving))
        };
        tokio::time::timeout(self.limit, listening).await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// Asks the server to cancel that connection's statement.
    pub(crate) fn cancel(&self, token: CancelToken) -> impl Future<Output = ()> + Send + 'static {
        let (cancelling, limit) = ((self.cancel)(token), self.limit);
        async move {
            if tokio::time::timeout(limit, cancelling).await.is_err() {
                tracing::debug!(target: "ackonce", "an abandoned statement was not cancelled in time");
            }
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "postgres: connecting: the server closed the connection")
        .with_repeat(Repeat::Safe)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}
