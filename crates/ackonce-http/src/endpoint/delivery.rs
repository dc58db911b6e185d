//! One request as the runner sees it: a delivery whose message runs itself.

use std::sync::Arc;

use ackonce::adapter::Delivery;
use ackonce::trace::{SpanOrigin, TraceContext};
use ackonce::{Answer, Class, Context, Handler, Item};
use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};

/// A request on its way through the runner.
pub(crate) struct Exchange(pub(crate) Arc<dyn Run>);

/// Runs the inner service; the runner does not know its types.
pub(crate) trait Run: Send + Sync + 'static {
    fn run(self: Arc<Self>, cx: Context) -> BoxFuture<'static, Answer>;

    /// The trace context in the request's headers; `None` once it has run.
    fn trace_context(&self) -> Option<TraceContext>;

    /// Its method and path.
    fn origin(&self) -> SpanOrigin<'static>;
}

impl Delivery for Exchange {
    type Message = Arc<dyn Run>;

    fn message(&self) -> Arc<dyn Run> {
        self.0.clone()
    }

    fn trace_context(&self) -> Option<TraceContext> {
        self.0.trace_context()
    }

    fn origin(&self) -> SpanOrigin<'_> {
        self.0.origin()
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
