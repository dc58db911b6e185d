//! The service that answers requests.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use ackonce::{BoxError, Counts};
use bytes::Buf;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::endpoint::{Endpoint, Run, WebhookBody};

/// Answers one provider's webhooks. Cloning is cheap.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{Context, Failure, MemoryStore, Scope};
/// use ackonce_webhook::{Event, GitHub, Webhook};
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let pushed = |_: Context, event: Event| async move { Ok::<(), Failure>(println!("{:?}", event.kind())) };
/// let hooks = Webhook::new(GitHub::new(["secret"])?, &Scope::new("ci")?, Arc::new(MemoryStore::new())).handle(pushed)?;
/// let app: axum::Router = axum::Router::new().route_service("/github", hooks.clone());
/// // Serve `app`; once the server has stopped accepting:
/// assert_eq!(hooks.drain().await, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct WebhookService {
    endpoint: Arc<Endpoint>,
    run: Arc<dyn Run>,
}

impl fmt::Debug for WebhookService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookService").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl WebhookService {
    pub(crate) fn new(endpoint: Arc<Endpoint>, run: Arc<dyn Run>) -> Self {
        Self { endpoint, run }
    }

    /// Ends it in good order, once the server has stopped accepting: waiting requests are answered 503, running handlers
    /// get [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout), then they are cancelled and their claims left to the
    /// lease. Returns how many are still running after all: handlers that block their thread.
    pub async fn drain(&self) -> usize {
        self.endpoint.edge.drain().await
    }

    /// Counts of the decisions so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.endpoint.edge.runner().counts()
    }
}

impl<B> Service<Request<B>> for WebhookService
where
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    B::Data: Send,
{
    type Response = Response<WebhookBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Room is looked for once a request is verified: strangers must not take it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (endpoint, run) = (self.endpoint.clone(), self.run.clone());
        Box::pin(async move { Ok(endpoint.answer(request, run).await) })
    }
}
