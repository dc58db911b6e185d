//! The work for an event: a tower service or a handler.

use std::future::poll_fn;

use ackonce::{Answer, BoxError, Context, Effect, Failure, FailureKinds, Handler, Item};
use ackonce_http::body::describe_whole;
use ackonce_http::edge::put_trace_context;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower_service::Service;

use super::delivery::{Arrival, Run};
use super::keep::Keep;
use super::problems;
use crate::event::Event;

/// A handler of events.
pub(crate) struct OfHandler<H> {
    pub(crate) handler: H,
    /// Those of the settings: the answer to the sender is by the failure's kind, too.
    pub(crate) kinds: FailureKinds,
}

#[async_trait]
impl<H: Handler<Event>> Run for OfHandler<H> {
    async fn run(&self, cx: Context, arrival: Arrival) -> Answer {
        let message = arrival.event.clone();
        let answer = self.handler.handle_one(Item { cx, message }).await;
        let answer = answer.map_err(|failure| self.kinds.sort(failure));
        if let Err(Failure::Infrastructure(_)) = answer {
            arrival.reply(problems::handler_unavailable());
        }
        answer
    }
}

/// Says in a response that an event will never succeed: it is buried with the reason and answered 2xx, because a
/// repetition would change nothing. For services behind a [`WebhookLayer`](crate::WebhookLayer), as an extension of
/// the response:
///
/// ```
/// use ackonce_webhook::Permanent;
/// use axum::Extension;
/// use axum::response::IntoResponse;
/// async fn handler() -> impl IntoResponse {
///     Extension(Permanent("no such account".into()))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Permanent(pub String);

/// A service, called with a request whose body is the event's payload.
pub(crate) struct OfService<S> {
    pub(crate) service: S,
    pub(crate) keep: Keep,
}

#[async_trait]
impl<S, B> Run for OfService<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn run(&self, cx: Context, arrival: Arrival) -> Answer {
        let (mut service, key) = (self.service.clone(), cx.key().clone());
        poll_fn(|task| service.poll_ready(task)).await.map_err(|error| Failure::Retry(error.into()))?;
        let response = service.call(request(cx, &arrival)).await.map_err(|e| Failure::Retry(e.into()))?;
        if let Some(Permanent(reason)) = response.extensions().get() {
            return Err(Failure::permanent(reason.clone()));
        }
        let answer = classify_status(response.status());
        let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        if answer.is_err() {
            arrival.reply(response);
            return answer;
        }
        // The service says that the effect happened, and then its answer, which may be the effect, breaks off.
        let kept = self.keep.keep(response, &key).await;
        let (response, kept) =
            kept.map_err(|error| Failure::unknown(format!("its answer broke off: {error}")))?;
        arrival.reply(response);
        Ok(Effect::done(kept))
    }
}

fn request(cx: Context, arrival: &Arrival) -> Request<Full<Bytes>> {
    let payload = arrival.event.payload();
    let mut parts = arrival.request.as_ref().clone();
    // The body is whole now, and may be a part of the request's.
    describe_whole(&mut parts.headers, payload.len());
    if let Some(trace) = cx.trace_context() {
        put_trace_context(&mut parts.headers, trace);
    }
    parts.extensions.insert(arrival.event.clone());
    parts.extensions.insert(cx);
    Request::from_parts(parts, Full::new(payload.clone()))
}

/// 2xx: the effect happened. A status for a dependency that is down is no fault of the event and does not count as an
/// attempt. A 4xx is a failure like others: a wrong route must not swallow events.
fn classify_status(status: StatusCode) -> Answer {
    let said = || format!("the service answered {status}");
    match status {
        _ if status.is_success() => Ok(Effect::from(())),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(Failure::infrastructure(said())),
        _ => Err(Failure::Retry(said().into())),
    }
}
