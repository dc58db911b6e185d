//! The service: requests that pass, that are refused, and that are guarded, with their answers.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use ackonce::adapter::metric::Metric;
use ackonce::adapter::{Job, Receipt};
use ackonce::store::State;
use ackonce::{BoxError, Key};
use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::{self, BodyError, Collected};
use crate::edge::EdgeError;
use crate::future::ResponseFuture;
use crate::incoming::{self, Incoming};
use crate::key::{IDEMPOTENCY_KEY, IdempotencyKey, InvalidKey};
use crate::layer::Shared;
use crate::options::Need;
use crate::problem::Problem;
use crate::problems;
use crate::record::{REPLAYED, StoredResponse};
use crate::response::ResponseBody;
use crate::run::{Call, Ended, Exchange, Start};

/// The metrics of idempotency layers, beside those of their runners.
pub const METRICS: &[Metric] = &[REFUSED];

const REFUSED: Metric = Metric::counter(
    "ackonce_http_refused_total",
    &["scope", "error"],
    "Requests answered with a problem document, by its error",
);

/// A service behind an [`IdempotencyLayer`](crate::IdempotencyLayer).
#[derive(Clone)]
pub struct Idempotency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Idempotency<S> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S: fmt::Debug> fmt::Debug for Idempotency<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Q, B> Service<Request<Q>> for Idempotency<S>
where
    S: Service<Request<Q>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Send + 'static,
    Q: Body<Data: Send, Error: Into<BoxError>> + From<Bytes> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (head, body) = request.into_parts();
        let need = self.shared.options.gate.need(&head);
        if need == Need::Untouched {
            return ResponseFuture::passed(self.inner.call(Request::from_parts(head, body)));
        }
        let key = match IdempotencyKey::from_headers(&head.headers) {
            Err(InvalidKey::Missing) if need == Need::Optional => None,
            Err(error) => return self.refuse(&head, body, error.problem()),
            Ok(key) => Some(key),
        };
        let filed = match key.as_ref().map(|key| self.shared.file(&head, key)).transpose() {
            Ok(filed) => filed,
            Err(problem) => return self.refuse(&head, body, problem),
        };
        if let Err(error) = body::check_length(&head.headers, self.shared.options.body) {
            return self.refuse(&head, body, error.problem());
        }
        // The one that was found ready goes; its clone stays and is asked anew.
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        let collected = incoming::collect(&head, body, self.shared.options.body, &self.shared.budget);
        let (Some(key), Some(filed)) = (key, filed) else {
            return ResponseFuture::guarded(pass(service, self.shared.clone(), head, collected));
        };
        let sent = key.sent().clone();
        let start = Start { service, incoming: Incoming::new(head), key };
        let call = Arc::new(Call::new(self.shared.clone(), start));
        ResponseFuture::guarded(guard(call, filed, collected, sent))
    }
}

impl<S> Idempotency<S> {
    /// The answer to a request that is refused by its head. Its body is dropped beside the answer.
    fn refuse<F, Q, B, E>(&self, head: &Parts, body: Q, problem: Problem) -> ResponseFuture<F, B, E>
    where
        Q: Body<Data: Send> + Send + 'static,
    {
        body::drop_rest(&head.headers, body, self.shared.options.body);
        let response = self.shared.refuse(problem);
        // Echoed where it is one.
        ResponseFuture::refused(match IdempotencyKey::from_headers(&head.headers) {
            Ok(key) => echo(response, key.sent()),
            Err(_) => response,
        })
    }
}

/// A request without a key, on a route where it may be one: its body keeps to the same limits, and nothing is recorded.
async fn pass<S, Q, B>(
    mut service: S,
    shared: Arc<Shared>,
    head: Parts,
    body: impl Future<Output = Result<Collected, BodyError>>,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: From<Bytes>,
{
    let mut incoming = Incoming::new(head);
    match body.await {
        Ok(collected) => incoming.complete(collected),
        Err(error) => return Ok(shared.refuse(error.problem())),
    }
    let (request, _share) = incoming.into_request();
    service.call(request).await.map(|response| response.map(ResponseBody::passed))
}

/// The life of a guarded request. Not an `async fn`, which would hold its arguments twice.
fn guard<S, Q, B>(
    call: Arc<Call<S, Q, B, S::Error>>,
    filed: Key,
    body: impl Future<Output = Result<Collected, BodyError>> + Send,
    sent: HeaderValue,
) -> impl Future<Output = Result<Response<ResponseBody<B>>, S::Error>> + Send
where
    S: Service<Request<Q>, Response = Response<B>, Future: Send> + Send + 'static,
    S::Error: Send + 'static,
    Q: From<Bytes> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    // While the body is read, a client that hangs up leaves no trace.
    body.then(move |body| async move {
        let job = Job::new(filed, Exchange(call.clone()));
        let job = match body.map(|body| call.complete(body)) {
            Ok(Some(fingerprint)) => job.with_fingerprint(fingerprint),
            Ok(None) => job,
            Err(error) => return Ok(echo(call.shared().refuse(error.problem()), &sent)),
        };
        let settled = call.shared().edge.process(job).await;
        call.shared().answer(call.take(), settled).map(|response| echo(response, &sent))
    })
}

impl Shared {
    /// The key of this request's record, or the reason that it may not have one.
    fn file(&self, head: &Parts, key: &IdempotencyKey) -> Result<Key, Problem> {
        let bucket = self.principal().bucket(head)?;
        // Only a method of hundreds of bytes could be refused here.
        self.key(&bucket, &head.method, &self.options.target.of(head), key.as_bytes())
            .map_err(|_| InvalidKey::Malformed.problem())
    }

    fn answer<B, E>(
        &self,
        ended: Option<Ended<B, E>>,
        settled: Result<Receipt<Exchange>, EdgeError<Exchange>>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        // Every repeat is answered with the record, so it comes before the answer of a run that lost its claim.
        if let Ok(receipt) = &settled
            && receipt.record().is_some()
        {
            return Ok(self.replay(receipt));
        }
        match (ended, settled) {
            (Some(Ended::Answered(response)), _) => Ok(response),
            (Some(Ended::Failed(error)), _) => Err(error),
            (Some(Ended::Broke), _) => Ok(self.refuse(problems::broke())),
            (Some(Ended::Cancelled), _) => Ok(self.refuse(problems::cancelled())),
            (None, Ok(_)) => Ok(self.refuse(problems::outcome_unknown())),
            (None, Err(refused)) => Ok(self.refuse(problems::unsettled(&refused))),
        }
    }

    fn replay<B>(&self, receipt: &Receipt<Exchange>) -> Response<ResponseBody<B>> {
        let record = receipt.record();
        let outcome = record.filter(|r| r.state == State::Done).and_then(|r| r.outcome.as_ref());
        let Some(outcome) = outcome else { return self.refuse(problems::outcome_unknown()) };
        let stored = match StoredResponse::decode(outcome) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(target: "ackonce", scope = self.edge.runner().scope().name(), %error, key = ?receipt.how(), "a recorded answer cannot be replayed");
                return self.refuse(problems::unreadable(error));
            }
        };
        let body = match stored.body.whole() {
            Ok(body) => body.clone(),
            Err(why) => return self.refuse(problems::not_kept(stored.status, why)),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = stored.status;
        *response.headers_mut() = stored.headers;
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }

    fn refuse<B>(&self, problem: Problem) -> Response<ResponseBody<B>> {
        let scope = self.edge.runner().scope().name();
        REFUSED.counter_of(&[scope, problem.error()]).increment(1);
        tracing::debug!(target: "ackonce", decision = "refused", scope, error = problem.error());
        problem.into_response()
    }
}

fn echo<B>(mut response: Response<B>, key: &HeaderValue) -> Response<B> {
    response.headers_mut().insert(IDEMPOTENCY_KEY, key.clone());
    response
}
