//! One request as the runner sees it: a delivery whose handler calls the inner service.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackonce::adapter::Delivery;
use ackonce::store::Fingerprint;
use ackonce::{Answer, BoxError, Class, Context, Effect, Failure, Handler, Item};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::Collected;
use crate::incoming::Incoming;
use crate::key::IdempotencyKey;
use crate::layer::Shared;
use crate::operation::Operation;
use crate::options::Streams;
use crate::record::{Kept, REPLAY_UNAVAILABLE, REPLAYED, encode};
use crate::response::{Gathered, ResponseBody, gather};

/// The interval at which a run that may lose its lease checks its mark.
const LOOK_UP: Duration = Duration::from_millis(50);

/// A request on its way through the runner.
pub(crate) struct Exchange(pub(crate) Arc<dyn Run>);

/// Runs the inner service; the runner does not know its types.
pub(crate) trait Run: Send + Sync + 'static {
    fn run(self: Arc<Self>, cx: Context) -> BoxFuture<'static, Answer>;
}

impl Delivery for Exchange {
    type Message = Arc<dyn Run>;

    fn message(&self) -> Arc<dyn Run> {
        self.0.clone()
    }
}

/// The handler of every layer's runner.
pub(crate) struct Calls;

#[async_trait]
impl Handler<Arc<dyn Run>> for Calls {
    fn class(&self) -> Class {
        Class::Leased
    }

    async fn handle(&self, items: Vec<Item<Arc<dyn Run>>>) -> Vec<Answer> {
        join_all(items.into_iter().map(|item| self.handle_one(item))).await
    }

    // `async_trait` would box the box.
    fn handle_one<'a, 'b>(&'a self, item: Item<Arc<dyn Run>>) -> BoxFuture<'b, Answer>
    where
        'a: 'b,
        Self: 'b,
    {
        item.message.run(item.cx)
    }
}

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
    shared: Arc<Shared>,
    start: Mutex<Option<Start<S>>>,
    ended: Mutex<Option<Ended<B, E>>>,
    request: PhantomData<fn(Q)>,
}

/// The start of a run.
pub(crate) struct Start<S> {
    pub(crate) service: S,
    pub(crate) incoming: Incoming,
    pub(crate) key: IdempotencyKey,
}

/// Held for a move or a clone, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, Q, B, E> Call<S, Q, B, E> {
    pub(crate) fn new(shared: Arc<Shared>, start: Start<S>) -> Self {
        Self { shared, start: Mutex::new(Some(start)), ended: Mutex::new(None), request: PhantomData }
    }

    /// Gives the request its body, which has arrived; the fingerprint of both. `None` once it has run.
    pub(crate) fn complete(&self, body: Collected) -> Option<Fingerprint> {
        let mut start = lock(&self.start);
        let incoming = &mut start.as_mut()?.incoming;
        incoming.complete(body);
        Some(self.shared.options.payload.fingerprint(incoming.head(), incoming.body()))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The end of the last run, if there was one.
    pub(crate) fn take(&self) -> Option<Ended<B, E>> {
        lock(&self.ended).take()
    }
}

/// The result of a run, before it is decided whether to keep it.
enum Gave<B, E> {
    Response(http::response::Parts, Gathered<B>),
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
        let Some(Start { mut service, incoming, key }) = lock(&self.start).take() else {
            return ready(Err(Failure::infrastructure("this arrival of the request has run"))).boxed();
        };
        let operation = Operation::new(key, cx);
        let (mut request, share) = incoming.into_request();
        request.extensions_mut().insert(operation.clone());
        // Called and boxed here, so that the run need not hold the request as well as the service's future.
        let answering = catch_unwind(AssertUnwindSafe(|| Box::pin(service.call(request))));
        Box::pin(async move {
            // The body is in memory for as long as the service may hold it.
            let _share = share;
            self.watch(&operation, answering).await
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
                    let failure = Failure::unknown(format!("it panicked: {}", text(panic.as_ref())));
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
        let options = &self.shared.options;
        let wait = match options.streams {
            Streams::Collect(wait) if options.policy.keeps(head.status, &head.headers) => Some(wait),
            _ => None,
        };
        match gather(&head.headers, body, options.max_response, wait).await {
            Ok(body) => Ok(Gave::Response(head, body)),
            Err(error) => Ok(Gave::BrokenBody(error)),
        }
    }

    /// Ready, with the reason, once the run may not go on.
    async fn cut_short(&self, operation: &Operation) -> &'static str {
        let Shared { edge, options, .. } = self.shared();
        // Not renewed for two thirds of the lease. Others may go on hoping; a marked run is recorded.
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
        let (mut head, body) = match gave {
            Gave::Response(head, body) => (head, body),
            Gave::Error(error) => {
                return (Ended::Failed(error), Err(Failure::unknown("the inner service failed")));
            }
            Gave::BrokenBody(error) => {
                return (Ended::Broke, Err(Failure::unknown(format!("its answer broke off: {error}"))));
            }
        };
        // Only the layer may set them.
        head.headers.remove(REPLAYED);
        head.headers.remove(REPLAY_UNAVAILABLE);
        let options = &self.shared.options;
        let answer = if options.policy.keeps(head.status, &head.headers) {
            let kept = match &body {
                Gathered::Whole(bytes) => Kept::Whole(bytes.clone()),
                Gathered::Streamed(_) => Kept::Streamed,
                Gathered::TooLarge(_) => Kept::TooLarge,
            };
            let record = encode(&head, &kept, options.cookies, &options.headers, options.settings.window);
            if let Err(why) = kept.whole() {
                head.headers.insert(REPLAY_UNAVAILABLE, why);
            }
            Ok(Effect::from(record))
        } else {
            // Its own doing: the handler has ended and says that it did not succeed. It does not count as an attempt.
            Err(Failure::infrastructure(format!("it answered {}, which is not kept", head.status)))
        };
        let body = match body {
            Gathered::Whole(bytes) => bytes.into(),
            Gathered::Streamed(body) | Gathered::TooLarge(body) => body,
        };
        (Ended::Answered(Response::from_parts(head, body)), answer)
    }
}

/// The value of a panic.
type Panic = Box<dyn Any + Send>;

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
