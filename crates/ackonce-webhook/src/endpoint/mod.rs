//! From a request to its answer: bound it, verify it, then claim, run, settle.

mod body;
mod delivery;
mod keep;
mod metrics;
mod problems;
mod run;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use ackonce::adapter::{Job, Receipt, SettledAs, Why};
use ackonce::{BoxError, Key, Scope};
use ackonce_http::body::{Budget, Collected, Limits, Share};
use ackonce_http::edge::{Edge, EdgeError};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body;

pub use self::body::WebhookBody;
use self::body::{plain, whole};
pub use self::delivery::Arrival;
pub(crate) use self::delivery::{Calls, Run};
pub(crate) use self::keep::Keep;
pub use self::metrics::METRICS;
pub(crate) use self::metrics::{Metrics, background_failed};
pub use self::run::Permanent;
pub(crate) use self::run::{OfHandler, OfService};
use crate::error::VerifyError;
use crate::event::Event;
use crate::provider::{Provider, Terms, Verified};
use crate::record::{Fingerprints, record_scope};
use crate::request::RawRequest;

/// The way a delivery came to be settled, for a reader of the provider's log: `run`, `duplicate` or `buried`.
const SETTLED: HeaderName = HeaderName::from_static("ackonce-settled");

/// State shared by all requests to one endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) terms: Terms,
    pub(crate) scope: Scope,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    pub(crate) keep: Keep,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) edge: Edge<Arrival, Calls>,
    pub(crate) metrics: Metrics,
}

type Outcome = Result<Receipt<Arrival>, EdgeError<Arrival>>;

impl Endpoint {
    /// Nothing is claimed before the request is whole and verified, so no stranger makes a record.
    pub(crate) async fn answer<B>(&self, request: Request<B>, run: Arc<dyn Run>) -> Response<WebhookBody>
    where
        B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let body = self.budget.collect(&parts.headers, body, self.limits).await;
        let Collected { bytes: body, share, .. } = match body {
            Ok(body) => body,
            Err(error) => {
                let problem = error.problem();
                self.metrics.refused_for(problem.error());
                return problems::response(problem);
            }
        };
        let request =
            RawRequest { headers: &parts.headers, body: &body, uri: &parts.uri, now: SystemTime::now() };
        match self.provider.verify(&request).and_then(|verified| self.keyed(verified)) {
            Ok(Admitted::Handshake(answer)) => answer.map(whole),
            Ok(Admitted::Events(events)) => self.settle(events, (parts, share), &run).await,
            Err(refused) => {
                self.metrics.refused(&refused);
                problems::refusal(&refused)
            }
        }
    }

    /// The key of each event. The same event twice in one request is one.
    fn keyed(&self, verified: Verified) -> Result<Admitted, VerifyError> {
        let events = match verified {
            Verified::Handshake(answer) => return Ok(Admitted::Handshake(answer)),
            Verified::Events(events) => events,
        };
        let (mut keyed, mut seen) = (Vec::with_capacity(events.len()), HashSet::new());
        for event in events {
            let scope = record_scope(&self.scope, self.provider.name(), event.scope());
            let key = scope.and_then(|scope| scope.key(event.id().clone()));
            let key = key.map_err(|error| VerifyError::malformed("ID", error.to_string()))?;
            if seen.insert(key.clone()) {
                keyed.push((key, event));
            }
        }
        Ok(Admitted::Events(keyed))
    }

    async fn settle(
        &self,
        events: Vec<(Key, Event)>,
        (parts, share): (Parts, Share),
        run: &Arc<dyn Run>,
    ) -> Response<WebhookBody> {
        let headers = Arc::new(parts.headers.clone());
        let (parts, share) = (Arc::new(parts), Arc::new(share));
        let deliveries = events.into_iter().map(|(key, event)| {
            let event = event.came_with(headers.clone());
            self.metrics.verified(event.secret());
            let fingerprint = self.fingerprints.of(&event);
            let job = Job::new(key, Arrival::new(event, parts.clone(), run.clone(), share.clone()));
            self.edge.process(match fingerprint {
                Some(fingerprint) => job.with_fingerprint(fingerprint),
                None => job,
            })
        });
        // Each call takes a place, so no more are made than there are: a batch that is longer would never be settled whole.
        let places = self.edge.most();
        self.respond(stream::iter(deliveries).buffered(places).collect().await)
    }

    /// 2xx if every event is settled, else the status for the first unsettled one: all come again, and those that are
    /// settled are found.
    fn respond(&self, outcomes: Vec<Outcome>) -> Response<WebhookBody> {
        let mut how = None;
        for outcome in outcomes {
            match outcome {
                Ok(receipt) => {
                    // Every repeat is given the recorded answer, so it goes before the answer of a lost claim.
                    let kept = self.keep.kept(receipt.record());
                    how = Some((receipt.how(), kept.or(receipt.redeem().take_reply())));
                }
                Err(refused) => return unsettled(&refused),
            }
        }
        let (how, reply) = how.unzip();
        let own = reply.flatten().filter(|reply| reply.status().is_success());
        let mut response = match (self.terms.accepted, own) {
            (Some(text), _) => plain(text),
            (None, Some(own)) => own,
            (None, None) => plain(""),
        };
        let how = match how {
            Some(SettledAs::Duplicate { .. }) => "duplicate",
            Some(SettledAs::Stale) => "stale",
            Some(SettledAs::Buried) => "buried",
            Some(SettledAs::Run) | None => "run",
        };
        response.headers_mut().insert(SETTLED, HeaderValue::from_static(how));
        response
    }
}

/// A verified request: a question to answer, or events to settle.
enum Admitted {
    Handshake(Response<Bytes>),
    Events(Vec<(Key, Event)>),
}

/// The service's own words where it has failed, else the runner's.
fn unsettled(refused: &EdgeError<Arrival>) -> Response<WebhookBody> {
    if let EdgeError::Unsettled(unsettled) = refused
        && let Why::Failed { .. } = unsettled.why()
        && let Some(own) = unsettled.delivery().take_reply()
        && (own.status().is_client_error() || own.status().is_server_error())
    {
        return own;
    }
    problems::response(refused.problem())
}
