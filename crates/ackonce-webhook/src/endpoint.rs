//! From a request to its answer: bound it, verify it, then claim, run, settle.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use ackonce::adapter::{Job, Receipt, SettledAs, Why};
use ackonce::store::Fingerprint;
use ackonce::{Key, Scope};
use ackonce_http::body::Limits;
use ackonce_http::edge::{self, Edge};
use ackonce_http::problem::Problem;
use bytes::{Buf, Bytes};
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;

use crate::answer::{Keep, whole};
use crate::arrival::{Arrival, Calls};
use crate::budget::{Budget, Room};
use crate::layer::WebhookBody;
use crate::meters::Meters;
use crate::run::Run;
use crate::webhook::Fingerprints;
use crate::{Event, Filing, IdBound, Incoming, Provider, Refused, Terms, Verified};

/// The way a delivery came to be settled, for a reader of the provider's log: `run`, `duplicate` or `buried`.
const SETTLED: HeaderName = HeaderName::from_static("ackonce-settled");

/// State shared by all requests to one endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) terms: Terms,
    pub(crate) scope: Scope,
    pub(crate) filing: Filing,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    pub(crate) keep: Keep,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) edge: Edge<Arrival, Calls>,
    pub(crate) meters: Meters,
}

type Outcome = Result<Receipt<Arrival>, edge::EdgeError<Arrival>>;

impl Endpoint {
    /// Nothing is claimed before the request is whole and verified, so no stranger makes a record.
    pub(crate) async fn answer<B>(&self, request: Request<B>, run: Arc<dyn Run>) -> Response<WebhookBody>
    where
        B: Body<Data: Buf + Send, Error: Into<ackonce::BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let (body, room) = match self.budget.collect(&parts.headers, body, self.limits).await {
            Ok(body) => body,
            Err(refused) => {
                self.meters.refused_for(refused.error());
                return problem(refused);
            }
        };
        let incoming =
            Incoming { headers: &parts.headers, body: &body, uri: &parts.uri, now: SystemTime::now() };
        match self.provider.verify(&incoming).and_then(|verified| self.keyed(verified)) {
            Ok(Keyed::Handshake(answer)) => answer.map(whole),
            Ok(Keyed::Events(events)) => self.settle(events, (parts, room), &run).await,
            Err(refused) => {
                self.meters.refused(&refused);
                problem(refusal(&refused))
            }
        }
    }

    /// The key of each event. The same event twice in one request is one.
    fn keyed(&self, verified: Verified) -> Result<Keyed, Refused> {
        let events = match verified {
            Verified::Handshake(answer) => return Ok(Keyed::Handshake(answer)),
            Verified::Events(events) => events,
        };
        let (mut keyed, mut seen) = (Vec::with_capacity(events.len()), HashSet::new());
        for event in events {
            let scope = self.filing.scope(&self.scope, self.provider.name(), event.scope());
            let key = scope.and_then(|scope| scope.key(event.id().clone()));
            let key = key.map_err(|error| Refused::malformed("ID", error.to_string()))?;
            if seen.insert(key.clone()) {
                keyed.push((key, event));
            }
        }
        Ok(Keyed::Events(keyed))
    }

    async fn settle(
        &self,
        events: Vec<(Key, Event)>,
        (parts, room): (Parts, Room),
        run: &Arc<dyn Run>,
    ) -> Response<WebhookBody> {
        let headers = Arc::new(parts.headers.clone());
        let (parts, room) = (Arc::new(parts), Arc::new(room));
        let deliveries = events.into_iter().map(|(key, event)| {
            let event = event.came_with(headers.clone());
            self.meters.verified(event.secret());
            let fingerprint = self.fingerprint(&event);
            let job = Job::new(key, Arrival::new(event, parts.clone(), run.clone(), room.clone()));
            self.edge.process(match fingerprint {
                Some(fingerprint) => job.with_fingerprint(fingerprint),
                None => job,
            })
        });
        self.respond(join_all(deliveries).await)
    }

    fn fingerprint(&self, event: &Event) -> Option<Fingerprint> {
        let wanted = match self.fingerprints {
            Fingerprints::Unsigned => event.id_bound() == IdBound::Unsigned,
            Fingerprints::Always => true,
            Fingerprints::Never => false,
        };
        wanted.then(|| Fingerprint::of(event.payload()))
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
            Some(SettledAs::Buried) => "buried",
            Some(SettledAs::Run) | None => "run",
        };
        response.headers_mut().insert(SETTLED, HeaderValue::from_static(how));
        response
    }
}

enum Keyed {
    Handshake(Response<Bytes>),
    Events(Vec<(Key, Event)>),
}

/// The service's own words where it has failed, else the runner's.
fn unsettled(refused: &edge::EdgeError<Arrival>) -> Response<WebhookBody> {
    if let edge::EdgeError::Unsettled(unsettled) = refused
        && let Why::Failed { .. } = unsettled.why()
        && let Some(own) = unsettled.delivery().take_reply()
        && (own.status().is_client_error() || own.status().is_server_error())
    {
        return own;
    }
    problem(refused.problem())
}

fn refusal(refused: &Refused) -> Problem {
    let (error, title) = match refused.status() {
        StatusCode::UNAUTHORIZED => ("not_verified", "The request is not verified"),
        _ => ("not_understood", "The request is not understood"),
    };
    Problem::new(refused.status(), error, title).with_detail(refused.to_string())
}

pub(crate) fn problem(problem: Problem) -> Response<WebhookBody> {
    problem.into_response::<Bytes>().map(whole)
}

fn plain(text: &'static str) -> Response<WebhookBody> {
    let mut response = Response::new(whole(Bytes::from_static(text.as_bytes())));
    if !text.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    response
}
