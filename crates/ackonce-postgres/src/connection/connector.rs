//! Connection pools for one server, with the type of the TLS connector erased.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Error, ErrorKind, Result};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Config, Socket};

/// The time limit of a connection attempt, unless the URL sets one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The idle time after which TCP sends a keepalive probe; the system's default is two hours.
const KEEPALIVE: Duration = Duration::from_secs(15);

type Cancel = dyn Fn(CancelToken) -> BoxFuture<'static, ()> + Send + Sync;

/// Makes pools of connections to one server.
#[derive(Clone)]
pub(crate) struct Connector {
    manager: Arc<dyn Fn() -> Manager + Send + Sync>,
    cancel: Arc<Cancel>,
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
        Self {
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
        Pool::builder((self.manager)())
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| Error::new(ErrorKind::Config, "postgres: the pool cannot be made").with_source(e))
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
