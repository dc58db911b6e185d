//! The layer: one endpoint, for all services that it is put around.

use std::sync::Arc;

use ackonce::{BoxError, Counts};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower_layer::Layer;
use tower_service::Service;

use crate::endpoint::{Endpoint, OfService};
use crate::service::WebhookService;

/// Puts one provider's webhooks in front of a service, which runs once per event. Cloning is cheap, and all services of
/// a layer share its runner.
///
/// The service is called with the request as it came, its body whole, with the extensions [`Event`](crate::Event) and
/// [`ackonce::Context`]. Its answer decides: 2xx, the effect happened and is recorded; 429, 502, 503 and 504, something
/// else is down; [`Permanent`](crate::Permanent), it is buried and answered 2xx; anything else, it failed. A failed event is
/// answered as the service did, and the provider's next delivery runs. Where the answer is the effect, it is kept
/// and a repeat gets it again ([`Webhook::with_kept_answer`](crate::Webhook::with_kept_answer)).
#[derive(Debug, Clone)]
pub struct WebhookLayer(Arc<Endpoint>);

impl WebhookLayer {
    pub(crate) fn of(endpoint: Endpoint) -> Self {
        Self(Arc::new(endpoint))
    }

    /// Ends it in good order, once the server has stopped accepting: waiting requests are answered 503, running handlers
    /// get [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout), then they are cancelled and their claims left to the
    /// lease. Returns how many are still running after all: handlers that block their thread.
    pub async fn drain(&self) -> usize {
        self.0.edge.drain().await
    }

    /// Counts of the decisions so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.edge.runner().counts()
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
