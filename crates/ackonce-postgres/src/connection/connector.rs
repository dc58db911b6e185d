//! Connection pools for one server, with the type of the TLS connector erased.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Error, ErrorKind, Result};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::{BoxFuture, poll_fn};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Socket};

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
        let for_cancel = tls.clone();
        let (for_listen, listened) = (tls.clone(), server.clone());
        Self {
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
            .build()
            .map_err(|e| Error::new(ErrorKind::Config, "postgres: the pool cannot be made").with_source(e))
    }

    /// Opens a connection that hears notifications.
    pub(crate) fn listen(
        &self,
        notified: Notified,
    ) -> BoxFuture<'static, Result<Listening, tokio_postgres::Error>> {
        (self.listen)(notified)
    }

    /// Asks the server to cancel that connection's statement.
    pub(crate) fn cancel(&self, token: CancelToken) -> BoxFuture<'static, ()> {
        (self.cancel)(token)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}
