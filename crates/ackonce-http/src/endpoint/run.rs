//! The run of a request: the inner service is called, its answer is read and kept.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackonce::adapter::panic_text;
use ackonce::store::Fingerprint;
use ackonce::trace::{SpanOrigin, TraceContext};
use ackonce::{Answer, BoxError, Context, Effect, Failure};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::Endpoint;
use super::delivery::Run;
use super::request::GuardedRequest;
use crate::body::Collected;
use crate::edge::{put_trace_context, trace_context_of};
use crate::identity::IdempotencyKey;
use crate::operation::Operation;
use crate::options::Streams;
use crate::response::{Kept, REPLAY_UNAVAILABLE, REPLAYED, ResponseBody, encode};

/// The interval at which a run that may lose its lease checks its mark.
const LOOK_UP: Duration = Duration::from_millis(50);

/// The end of a run, for the client that waits for it.
pub(crate) enum Ended<B, E> {
    Answered(Response<ResponseBody<B>>),
    /// The inner service's own error.
    Failed(E),
    /// It panicked, or its answer's body broke off.
    Broke,
    /// It was cancelled.
    Cancelled,
}

/// One request with everything its run needs. It runs once: after a run that was cancelled its client is told, and
/// may send it again.
pub(crate) struct Call<S, Q, B, E> {
    endpoint: Arc<Endpoint>,
    start: Mutex<Option<Start<S>>>,
    ended: Mutex<Option<Ended<B, E>>>,
    request: PhantomData<fn(Q)>,
}

/// The start of a run.
pub(crate) struct Start<S> {
    pub(crate) service: S,
    pub(crate) request: GuardedRequest,
    pub(crate) key: IdempotencyKey,
}

/// Held for a move or a clone, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, Q, B, E> Call<S, Q, B, E> {
    pub(crate) fn new(endpoint: Arc<Endpoint>, start: Start<S>) -> Self {
        Self { endpoint, start: Mutex::new(Some(start)), ended: Mutex::new(None), request: PhantomData }
    }

    /// Gives the request its body, which has arrived; the fingerprint of both. `None` once it has run.
    pub(crate) fn complete(&self, body: Collected) -> Option<Fingerprint> {
        let mut start = lock(&self.start);
        let request = &mut start.as_mut()?.request;
        request.complete(body);
        Some(self.endpoint.options.payload.fingerprint(request.head(), request.body()))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The end of the last run, if there was one.
    pub(crate) fn take(&self) -> Option<Ended<B, E>> {
        lock(&self.ended).take()
    }
}

/// The result of a run, before it is decided whether to keep it.
enum Gave<B, E> {
    Response(Response<ResponseBody<B>>, Kept),
    Error(E),
    BrokenBody(BoxError),
}

impl<S, Q, B> Run for Call<S, Q, B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>, Future: Send> + Send + 'static,
    S::Error: Send + 'static,
    Q: From<Bytes> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    fn run(self: Arc<Self>, cx: Context) -> BoxFuture<'static, Answer> {
        let Some(Start { mut service, request, key }) = lock(&self.start).take() else {
            return ready(Err(Failure::infrastructure("this arrival of the request has run"))).boxed();
        };
        let trace = cx.trace_context().cloned();
        let operation = Operation::new(key, cx);
        let (mut request, share) = request.into_request();
        if let Some(trace) = trace {
            put_trace_context(request.headers_mut(), &trace);
        }
        request.extensions_mut().insert(operation.clone());
        // Called and boxed here, so that the run need not hold the request as well as the service's future.
        let answering = catch_unwind(AssertUnwindSafe(|| Box::pin(service.call(request))));
        Box::pin(async move {
            // The body is in memory for as long as the service may hold it.
            let _share = share;
            self.watch(&operation, answering).await
        })
    }

    fn trace_context(&self) -> Option<TraceContext> {
        trace_context_of(&lock(&self.start).as_ref()?.request.head().headers)
    }

    fn origin(&self) -> SpanOrigin<'static> {
        let start = lock(&self.start);
        start.as_ref().map_or_else(SpanOrigin::default, |start| {
            let head = start.request.head();
            SpanOrigin::request(head.method.to_string(), head.uri.path().to_owned())
        })
    }
}

impl<S, Q, B, E> Call<S, Q, B, E>
where
    S: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
    E: Send,
{
    /// Waits for the service's answer, unless the run is cut short.
    async fn watch(
        &self,
        operation: &Operation,
        answering: Result<impl Future<Output = Result<Response<B>, E>> + Send, Panic>,
    ) -> Answer {
        let (ended, answer) = tokio::select! {
            biased;
            gave = AssertUnwindSafe(self.gather(answering)).catch_unwind() => match gave.flatten() {
                Ok(gave) => self.decide(gave),
                Err(panic) => {
                    let failure = Failure::unknown(format!("it panicked: {}", panic_text(panic.as_ref())));
                    (Ended::Broke, Err(failure))
                }
            },
            // Most runs are over before it comes to waiting for this.
            why = async { Box::pin(self.cut_short(operation)).await } => {
                (Ended::Cancelled, Err(Failure::Cancelled(why.into())))
            }
        };
        *lock(&self.ended) = Some(ended);
        answer.map_err(|failure| match operation.is_irreversible() {
            true => Failure::permanent(format!("outcome unknown, marked irreversible: {failure}")),
            false => failure,
        })
    }

    async fn gather(
        &self,
        answering: Result<impl Future<Output = Result<Response<B>, E>>, Panic>,
    ) -> Result<Gave<B, E>, Panic> {
        let (head, body) = match answering?.await {
            Ok(response) => response.into_parts(),
            Err(error) => return Ok(Gave::Error(error)),
        };
        let options = &self.endpoint.options;
        let wait = match options.streams {
            Streams::Collect(wait) if options.policy.keeps(head.status, &head.headers) => Some(wait),
            _ => None,
        };
        match Kept::read(&head.headers, body, options.max_response, wait).await {
            Ok((body, kept)) => Ok(Gave::Response(Response::from_parts(head, body), kept)),
            Err(error) => Ok(Gave::BrokenBody(error)),
        }
    }

    /// Ready, with the reason, once the run may not go on.
    async fn cut_short(&self, operation: &Operation) -> &'static str {
        let Endpoint { edge, options, .. } = self.endpoint();
        // Not renewed for two thirds of the lease. Others may go on hoping; a marked run is recorded. The mark is a flag
        // and no event: it is read in this last third of a lost lease alone.
        let lapsing = async {
            operation.context().cancelled().await;
            while !operation.is_irreversible() {
                tokio::time::sleep(LOOK_UP).await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(options.settings.handler_timeout) => "it ran past Settings::handler_timeout",
            () = edge.last_call().cancelled() => "the server shut down",
            () = lapsing => "its lease was about to end",
        }
    }

    /// The client's answer, and the record.
    fn decide(&self, gave: Gave<B, E>) -> (Ended<B, E>, Answer) {
        let (mut response, kept) = match gave {
            Gave::Response(response, kept) => (response, kept),
            Gave::Error(error) => {
                return (Ended::Failed(error), Err(Failure::unknown("the inner service failed")));
            }
            Gave::BrokenBody(error) => {
                return (Ended::Broke, Err(Failure::unknown(format!("its answer broke off: {error}"))));
            }
        };
        // Only the layer may set them.
        response.headers_mut().remove(REPLAYED);
        response.headers_mut().remove(REPLAY_UNAVAILABLE);
        let options = &self.endpoint.options;
        let status = response.status();
        if !options.policy.keeps(status, response.headers()) {
            // Its own doing: the handler has ended and says that it did not succeed. It does not count as an attempt.
            let failure = Failure::infrastructure(format!("it answered {status}, which is not kept"));
            return (Ended::Answered(response), Err(failure));
        }
        let record = encode(
            status,
            response.headers(),
            &kept,
            options.cookies,
            &options.headers,
            options.settings.window,
        );
        if let Err(why) = kept.whole() {
            response.headers_mut().insert(REPLAY_UNAVAILABLE, why);
        }
        (Ended::Answered(response), Ok(Effect::from(record)))
    }
}

/// The value of a panic.
type Panic = Box<dyn Any + Send>;
