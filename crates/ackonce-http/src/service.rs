//! The service of the layer: a request passes, is refused, or is guarded.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use ackonce::adapter::Job;
use ackonce::{BoxError, Key};
use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::{BodyError, Collected, drop_rest};
use crate::endpoint::{Call, Endpoint, Exchange, GuardedRequest, Start};
use crate::future::ResponseFuture;
use crate::identity::{IDEMPOTENCY_KEY, IdempotencyKey, InvalidKey};
use crate::options::Need;
use crate::problem::Problem;
use crate::response::ResponseBody;

/// A service behind an [`IdempotencyLayer`](crate::IdempotencyLayer).
#[derive(Clone)]
pub struct Idempotency<S> {
    inner: S,
    endpoint: Arc<Endpoint>,
}

impl<S> Idempotency<S> {
    pub(crate) fn new(inner: S, endpoint: Arc<Endpoint>) -> Self {
        Self { inner, endpoint }
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
        let need = self.endpoint.options.gate.need(&head);
        if need == Need::Untouched {
            return ResponseFuture::passed(self.inner.call(Request::from_parts(head, body)));
        }
        let key = match IdempotencyKey::from_headers(&head.headers) {
            Err(InvalidKey::Missing) if need == Need::Optional => None,
            Err(error) => return self.refuse(&head, body, error.problem()),
            Ok(key) => Some(key),
        };
        let record = match key.as_ref().map(|key| self.endpoint.key_of(&head, key)).transpose() {
            Ok(record) => record,
            Err(problem) => return self.refuse(&head, body, problem),
        };
        // The one that was found ready goes; its clone stays and is asked anew.
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        let collected = self.endpoint.budget.collect(&head.headers, body, self.endpoint.options.body);
        let (Some(key), Some(record)) = (key, record) else {
            return ResponseFuture::guarded(pass(service, self.endpoint.clone(), head, collected));
        };
        let sent = key.sent().clone();
        let start = Start { service, request: GuardedRequest::new(head), key };
        let call = Arc::new(Call::new(self.endpoint.clone(), start));
        ResponseFuture::guarded(guard(call, record, collected, sent))
    }
}

impl<S> Idempotency<S> {
    /// The answer to a request that is refused by its head. Its body is dropped beside the answer.
    fn refuse<F, Q, B, E>(&self, head: &Parts, body: Q, problem: Problem) -> ResponseFuture<F, B, E>
    where
        Q: Body<Data: Send> + Send + 'static,
    {
        drop_rest(&head.headers, body, self.endpoint.options.body);
        let response = self.endpoint.refuse(problem);
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
    endpoint: Arc<Endpoint>,
    head: Parts,
    body: impl Future<Output = Result<Collected, BodyError>>,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: From<Bytes>,
{
    let mut request = GuardedRequest::new(head);
    match body.await {
        Ok(collected) => request.complete(collected),
        Err(error) => return Ok(endpoint.refuse(error.problem())),
    }
    let (request, _share) = request.into_request();
    service.call(request).await.map(|response| response.map(ResponseBody::passed))
}

/// The life of a guarded request. Not an `async fn`, which would hold its arguments twice.
fn guard<S, Q, B>(
    call: Arc<Call<S, Q, B, S::Error>>,
    record: Key,
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
        let job = Job::new(record, Exchange(call.clone()));
        let job = match body.map(|body| call.complete(body)) {
            Ok(Some(fingerprint)) => job.with_fingerprint(fingerprint),
            Ok(None) => job,
            Err(error) => return Ok(echo(call.endpoint().refuse(error.problem()), &sent)),
        };
        let settled = call.endpoint().edge.process(job).await;
        call.endpoint().answer(call.take(), settled).map(|response| echo(response, &sent))
    })
}

fn echo<B>(mut response: Response<B>, key: &HeaderValue) -> Response<B> {
    response.headers_mut().insert(IDEMPOTENCY_KEY, key.clone());
    response
}
