//! The service: what passes, what is refused, what is guarded and how that is answered.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use ackonce::{BoxError, Job, Key, Receipt, State, Why};
use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::body;
use crate::edge::Refused;
use crate::future::ResponseFuture;
use crate::key::{IDEMPOTENCY_KEY, IdempotencyKey, KeyError};
use crate::layer::Shared;
use crate::options::Need;
use crate::problem::Problem;
use crate::record::{Kept, REPLAYED, RecordError, StoredResponse};
use crate::response::ResponseBody;
use crate::run::{Call, Ended, Exchange, Start};

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
            Err(KeyError::Missing) if need == Need::Optional => {
                return ResponseFuture::passed(self.inner.call(Request::from_parts(head, body)));
            }
            Err(error) => return ResponseFuture::refused(self.shared.refuse(error.problem())),
            Ok(key) => key,
        };
        let filed = match self.shared.file(&head, &key) {
            Ok(filed) => filed,
            Err(problem) => return ResponseFuture::refused(echo(self.shared.refuse(problem), key.sent())),
        };
        if let Err(error) = body::check_length(&head.headers, self.shared.options.body) {
            return ResponseFuture::refused(echo(self.shared.refuse(error.problem()), key.sent()));
        }
        // The one that was found ready goes; its clone stays and is asked anew.
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        let sent = key.sent().clone();
        let request = Request::from_parts(head, Bytes::new().into());
        let call = Arc::new(Call::new(self.shared.clone(), Start { service, request, key }));
        ResponseFuture::guarded(guard(call, filed, body, sent))
    }
}

/// What is done once there is a request to guard. Not an `async fn`, which would hold its arguments twice.
fn guard<S, Q, B>(
    call: Arc<Call<S, Q, B, S::Error>>,
    filed: Key,
    body: Q,
    sent: HeaderValue,
) -> impl Future<Output = Result<Response<ResponseBody<B>>, S::Error>> + Send
where
    S: Service<Request<Q>, Response = Response<B>, Future: Send> + Send + 'static,
    S::Error: Send + 'static,
    Q: Body<Data: Send, Error: Into<BoxError>> + From<Bytes> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    // While the body is read, a client that hangs up leaves no trace.
    body::collect(body, call.shared().options.body).then(move |body| async move {
        let fingerprint = match body {
            Ok(body) => call.complete(body),
            Err(error) => return Ok(echo(call.shared().refuse(error.problem()), &sent)),
        };
        let job = Job::new(filed, Exchange(call.clone())).with_fingerprint(fingerprint);
        let settled = call.shared().edge.process(job).await;
        call.shared().answer(call.take(), settled).map(|response| echo(response, &sent))
    })
}

impl Shared {
    /// Where this request's record is, or why it may not have one.
    fn file(&self, head: &Parts, key: &IdempotencyKey) -> Result<Key, Problem> {
        let bucket = self.principal().bucket(head)?;
        // Only a method of hundreds of bytes could be refused here.
        self.key(&bucket, &head.method, head.uri.path(), key.as_bytes())
            .map_err(|_| KeyError::Malformed.problem())
    }

    fn answer<B, E>(
        &self,
        ended: Option<Ended<B, E>>,
        settled: Result<Receipt<Exchange>, Refused<Exchange>>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        // A record is what every repeat is answered with, so it comes before the answer of a run that lost its claim.
        if let Ok(receipt) = &settled
            && receipt.record().is_some()
        {
            return Ok(self.replay(receipt));
        }
        match (ended, settled) {
            (Some(Ended::Answered(mut response)), _) => {
                response.headers_mut().remove(REPLAYED);
                Ok(response)
            }
            (Some(Ended::Failed(error)), _) => Err(error),
            (Some(Ended::Broke), _) => Ok(self.refuse(problems::broke())),
            (Some(Ended::Cancelled), _) => Ok(self.refuse(problems::cancelled())),
            (None, Ok(_)) => Ok(self.refuse(problems::outcome_unknown())),
            (None, Err(refused)) => Ok(self.refuse(unsettled(&refused))),
        }
    }

    fn replay<B>(&self, receipt: &Receipt<Exchange>) -> Response<ResponseBody<B>> {
        let record = receipt.record();
        let outcome = record.filter(|r| r.state == State::Done).and_then(|r| r.outcome.as_ref());
        let Some(outcome) = outcome else { return self.refuse(problems::outcome_unknown()) };
        let stored = match StoredResponse::decode(outcome) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(target: "ackonce", %error, key = ?receipt.how(), "a recorded answer cannot be replayed");
                return self.refuse(problems::unreadable(error));
            }
        };
        let body = match stored.body {
            Kept::Whole(body) => body,
            Kept::Streamed => return self.refuse(problems::not_kept(stored.status, "streamed")),
            Kept::TooLarge => return self.refuse(problems::not_kept(stored.status, "too-large")),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = stored.status;
        *response.headers_mut() = stored.headers;
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }

    fn refuse<B>(&self, problem: Problem) -> Response<ResponseBody<B>> {
        let scope = self.edge.runner().scope().name();
        metrics::counter!("ackonce_http_refused_total", "scope" => scope.to_owned(), "error" => problem.error())
            .increment(1);
        tracing::debug!(target: "ackonce", decision = "refused", scope, error = problem.error());
        problem.into_response()
    }
}

/// What was handed back, in the words of this layer.
fn unsettled(refused: &Refused<Exchange>) -> Problem {
    match refused.why() {
        Some(Why::Mismatch) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This idempotency key was used with another request body",
        )
        .with_detail("A new operation needs a new key; a retry has to send the same bytes."),
        _ => refused.problem(),
    }
}

fn echo<B>(mut response: Response<B>, key: &HeaderValue) -> Response<B> {
    response.headers_mut().insert(IDEMPOTENCY_KEY, key.clone());
    response
}

/// The problems that only this layer has.
mod problems {
    use std::time::Duration;

    use http::HeaderName;

    use super::{HeaderValue, Problem, RecordError, StatusCode};

    /// Says why a repeat is not answered as the first request was.
    const UNAVAILABLE: HeaderName = HeaderName::from_static("idempotency-replay-unavailable");
    const SOON: Duration = Duration::from_secs(1);

    pub(super) fn broke() -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "handler_failed", "The request failed midway")
            .with_retry_after(SOON)
    }

    pub(super) fn cancelled() -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "run_cancelled",
            "The request was cancelled before it was answered",
        )
        .with_retry_after(SOON)
    }

    pub(super) fn outcome_unknown() -> Problem {
        Problem::new(StatusCode::CONFLICT, "outcome_unknown", "It is not known what became of this request")
            .with_detail(
                "It does not run again. Look whether it took effect before you send it with a new key.",
            )
    }

    pub(super) fn not_kept(status: StatusCode, why: &'static str) -> Problem {
        Problem::new(
            StatusCode::GONE,
            "response_not_kept",
            "This request was answered, and the answer was not kept",
        )
        .with_detail(format!("It was answered {} and does not run again.", status.as_u16()))
        .with_header(UNAVAILABLE, HeaderValue::from_static(why))
    }

    pub(super) fn unreadable(error: RecordError) -> Problem {
        match error {
            // Somebody is upgrading; a server of the newer version can answer.
            RecordError::Newer(_) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "record_from_newer_version",
                "The answer was recorded by a newer version of this server",
            )
            .with_retry_after(SOON),
            RecordError::Damaged(_) => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "record_unreadable",
                "This request was answered, and the recorded answer is damaged",
            ),
        }
    }
}
