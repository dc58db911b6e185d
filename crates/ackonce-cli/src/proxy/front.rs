//! The service that the server calls: the layer with the forwarder in it, and answers where the upstream has none.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use ackonce_http::problem::Problem;
use ackonce_http::{Idempotency, IdempotencyLayer, ResponseBody};
use http::header::ALLOW;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tower_service::Service;

use super::body::{AnswerBody, ForwardBody, Held};
use super::forward::{Broken, Forward, PROXY_STATUS};
use super::headers::Peer;
use super::idle::Activity;

/// The header by which the upstream says of an answer whether it is kept, over the policy: `true` or `false`. Clients do
/// not see it.
pub const REPLAYABLE: HeaderName = HeaderName::from_static("ackonce-replayable");

/// Answers requests. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Front {
    service: Idempotency<Forward>,
    /// An operation whose outcome is unknown is not forwarded again.
    parks: bool,
}

pub(super) type Answer = Response<Held<ResponseBody<AnswerBody>>>;

impl Front {
    pub(super) fn new(layer: &IdempotencyLayer, forward: Forward, parks: bool) -> Self {
        Self { service: tower_layer::Layer::layer(layer, forward), parks }
    }

    pub(super) async fn answer(
        self,
        mut request: Request<Incoming>,
        peer: IpAddr,
        activity: Activity,
    ) -> Result<Answer, Infallible> {
        let under_way = activity.asked();
        if request.method() == Method::CONNECT {
            return Ok(no_tunnels().into_response().map(|body| Held::new(body, under_way)));
        }
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(activity);
        let Self { mut service, parks } = self;
        let answer = service.call(request.map(ForwardBody::passing)).await;
        let mut answer = answer.unwrap_or_else(|broken| broken.problem(parks).into_response());
        answer.headers_mut().remove(REPLAYABLE);
        Ok(answer.map(|body| Held::new(body, under_way)))
    }
}

fn no_tunnels() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_tunnels", "This server opens no tunnels to other hosts")
        .with_detail("Nothing was done. Send the request to the service itself.")
        .with_header(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
}

impl Broken {
    /// The answer to a client whose request may have had its effect.
    fn problem(self, parks: bool) -> Problem {
        let (status, error, title, why) = match self {
            Self::BrokeOff => (
                StatusCode::BAD_GATEWAY,
                "upstream_broke_off",
                "The service behind broke off before it answered",
                HeaderValue::from_static("ackonce; error=connection_terminated"),
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timed_out",
                "The service behind did not answer in time",
                HeaderValue::from_static("ackonce; error=http_response_timeout"),
            ),
        };
        let problem = Problem::new(status, error, title).with_header(PROXY_STATUS, why);
        match parks {
            true => problem.with_detail(
                "The request may have taken effect. With an idempotency key, the same request is answered 409 until a \
                 person has looked at it.",
            ),
            false => problem
                .with_detail(
                    "The request may have taken effect. With an idempotency key, the same request can be sent again after \
                     Retry-After: it is then forwarded once more.",
                )
                .with_retry_after(Duration::from_secs(1)),
        }
    }
}
