//! The tower side: a layer, a service.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use ackonce::{BoxError, Counts, Deduplicator, Scope};
use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use tower_layer::Layer;
use tower_service::Service;

use crate::endpoint::Endpoint;
use crate::run::{OfService, Run};
use crate::{ConfigError, Provider, Webhook};

/// The body of an answer.
pub type WebhookBody = UnsyncBoxBody<Bytes, BoxError>;

/// Puts one provider's webhooks in front of a service, which runs once per event. Cloning is cheap, and all services of
/// a layer share its runner.
///
/// The service is called with the request as it came, its body whole, with the extensions [`Event`](crate::Event) and
/// [`ackonce::Context`]. Its answer decides: 2xx, the effect happened and is recorded; 429, 502, 503 and 504, something
/// else is down; [`Permanent`](crate::Permanent), it is buried and answered 2xx; anything else, it failed. A failed event is
/// answered as the service did, and the provider's next delivery runs. Where the answer is the effect, it is kept
/// and a repeat gets it again ([`Webhook::with_kept_answer`]).
#[derive(Debug, Clone)]
pub struct WebhookLayer(Arc<Endpoint>);

impl WebhookLayer {
    /// A layer with the settings that [`Webhook::new`] begins with.
    ///
    /// # Errors
    /// As [`Webhook::layer`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        provider: impl Provider,
        scope: &Scope,
        store: Arc<dyn Deduplicator>,
    ) -> Result<Self, ConfigError> {
        Webhook::new(provider, scope, store).layer()
    }

    pub(crate) fn of(endpoint: Endpoint) -> Self {
        Self(Arc::new(endpoint))
    }
}

impl<S, B> Layer<S> for WebhookLayer
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Service = WebhookService;

    fn layer(&self, service: S) -> WebhookService {
        WebhookService::new(self.0.clone(), Arc::new(OfService { service, keep: self.0.keep }))
    }
}

/// Answers one provider's webhooks. Cloning is cheap.
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
}

macro_rules! ending {
    ($($t:ident . $endpoint:tt),*) => {$(
        impl $t {
            /// Ends it in good order, once the server has stopped accepting: waiting requests are answered 503, running handlers
            /// get [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout), then they are cancelled and their claims left to the
            /// lease. Returns how many are still running after all: handlers that block their thread.
            pub async fn drain(&self) -> usize {
                self.$endpoint.edge.drain().await
            }

            /// Counts of the decisions so far.
            #[must_use]
            pub fn counts(&self) -> Counts {
                self.$endpoint.edge.runner().counts()
            }
        }
    )*};
}
ending!(WebhookLayer.0, WebhookService.endpoint);

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
