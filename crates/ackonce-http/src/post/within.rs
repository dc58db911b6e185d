//! A time limit for the whole of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ackonce::BoxError;
use http::Uri;
use tower_service::Service;

/// A connector with a time limit for all of its steps: the question for the host's address, TCP, and TLS. The limit of
/// [`HttpConnector`](hyper_util::client::legacy::connect::HttpConnector) is for TCP alone.
///
/// A connection that was not made in time is an error of the connector, so
/// [`is_connect`](hyper_util::client::legacy::Error::is_connect) says that no byte of the request was sent.
#[derive(Debug, Clone)]
pub struct ConnectWithin<C> {
    connector: C,
    limit: Duration,
}

impl<C> ConnectWithin<C> {
    /// The same connector with this limit.
    pub fn new(connector: C, limit: Duration) -> Self {
        Self { connector, limit }
    }
}

impl<C> Service<Uri> for ConnectWithin<C>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.connector.call(to), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(made) => made.map_err(Into::into),
                Err(_) => Err(format!("there was no connection within {limit:?}").into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpStream;

    use super::*;

    /// A question for an address, or a handshake, that nobody answers.
    #[tokio::test(start_paused = true)]
    async fn a_step_of_a_connection_that_hangs_is_a_connection_that_was_never_made() {
        let hangs = tower::service_fn(|_: Uri| std::future::pending::<io::Result<TokioIo<TcpStream>>>());
        let connector = ConnectWithin::new(hangs, Duration::from_secs(5));
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let error = client.get(Uri::from_static("http://h/")).await.unwrap_err();
        assert!(error.is_connect() && ackonce::chain(&error).to_string().contains("within 5s"), "{error:?}");
    }
}
