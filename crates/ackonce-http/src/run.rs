//! One request as the runner sees it: a delivery whose handler calls the inner service.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackonce::{
    Answer, BoxError, CancellationToken, Class, Context, Delivery, Effect, Failure, Handler, Item,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::key::IdempotencyKey;
use crate::operation::Operation;
use crate::options::Options;
use crate::record::{Kept, encode};
use crate::response::{Gathered, ResponseBody, gather};

/// How often a run that may lose its lease looks whether it was marked.
const LOOK_UP: Duration = Duration::from_millis(50);

/// A request on its way through the runner.
pub(crate) struct Exchange(pub(crate) Arc<dyn Run>);

/// Runs the inner service; the runner does not know its types.
#[async_trait]
pub(crate) trait Run: Send + Sync + 'static {
    async fn run(&self, cx: Context) -> Answer;
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
        join_all(items.into_iter().map(|item| async move { item.message.run(item.cx).await })).await
    }
}

/// How a run ended, for the client that waits for it.
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
    pub(crate) start: Mutex<Option<(S, Parts)>>,
    pub(crate) body: Bytes,
    /// The body as the inner service takes it.
    pub(crate) request_body: fn(Bytes) -> Q,
    pub(crate) key: IdempotencyKey,
    pub(crate) options: Arc<Options>,
    pub(crate) last_call: CancellationToken,
    pub(crate) ended: Mutex<Option<Ended<B, E>>>,
}

/// Held for a move or a clone, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, Q, B, E> Call<S, Q, B, E> {
    /// How the last run ended, if there was one.
    pub(crate) fn take(&self) -> Option<Ended<B, E>> {
        lock(&self.ended).take()
    }

    fn end(&self, ended: Ended<B, E>) {
        *lock(&self.ended) = Some(ended);
    }
}

/// What a run gave, before it is decided what to keep.
enum Gave<B, E> {
    Response(http::response::Parts, Gathered<B>),
    Error(E),
    BrokenBody(BoxError),
}

#[async_trait]
impl<S, Q, B> Run for Call<S, Q, B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>, Future: Send> + Send + 'static,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    async fn run(&self, cx: Context) -> Answer {
        let Some((service, head)) = lock(&self.start).take() else {
            return Err(Failure::infrastructure("this arrival of the request has run"));
        };
        let operation = Operation::new(self.key.clone(), cx.clone());
        let called = AssertUnwindSafe(self.call(service, head, operation.clone())).catch_unwind();
        // Not renewed for two thirds of the lease. Others may go on hoping; what must not run again is recorded.
        let lapsing = async {
            cx.cancelled().await;
            while !operation.is_irreversible() {
                tokio::time::sleep(LOOK_UP).await;
            }
        };
        let cut_short = async {
            tokio::select! {
                () = tokio::time::sleep(self.options.settings.run_limit) => "it ran past Settings::run_limit",
                () = self.last_call.cancelled() => "the server shut down",
                () = lapsing => "its lease was about to end",
            }
        };
        let (ended, failure) = tokio::select! {
            biased;
            gave = called => match gave {
                Ok(gave) => match self.decide(gave) {
                    (ended, Ok(effect)) => {
                        self.end(ended);
                        return Ok(effect);
                    }
                    (ended, Err(failure)) => (ended, failure),
                },
                Err(panic) => (Ended::Broke, Failure::unknown(format!("it panicked: {}", text(panic.as_ref())))),
            },
            why = cut_short => (Ended::Cancelled, Failure::Cancelled(why.into())),
        };
        self.end(ended);
        if operation.is_irreversible() {
            return Err(Failure::permanent(format!("outcome unknown, marked irreversible: {failure}")));
        }
        Err(failure)
    }
}

impl<S, Q, B, E> Call<S, Q, B, E> {
    async fn call(&self, mut service: S, head: Parts, operation: Operation) -> Gave<B, E>
    where
        S: Service<Request<Q>, Response = Response<B>, Error = E>,
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let mut request = Request::from_parts(head, (self.request_body)(self.body.clone()));
        request.extensions_mut().insert(operation);
        let (head, body) = match service.call(request).await {
            Ok(response) => response.into_parts(),
            Err(error) => return Gave::Error(error),
        };
        match gather(&head.headers, body, self.options.max_response).await {
            Ok(body) => Gave::Response(head, body),
            Err(error) => Gave::BrokenBody(error),
        }
    }

    /// What the client gets, and what is recorded.
    fn decide(&self, gave: Gave<B, E>) -> (Ended<B, E>, Answer) {
        let (head, body) = match gave {
            Gave::Response(head, body) => (head, body),
            Gave::Error(error) => {
                return (Ended::Failed(error), Err(Failure::unknown("the inner service failed")));
            }
            Gave::BrokenBody(error) => {
                return (Ended::Broke, Err(Failure::unknown(format!("its answer broke off: {error}"))));
            }
        };
        let answer = if self.options.policy.keeps(head.status, &head.headers) {
            let kept = match &body {
                Gathered::Whole(bytes) => Kept::Whole(bytes.clone()),
                Gathered::Streamed(_) => Kept::Streamed,
                Gathered::TooLarge(_) => Kept::TooLarge,
            };
            let options = &self.options;
            Ok(Effect::from(encode(&head, &kept, options.cookies, options.settings.window)))
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

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
