//! One event's way through the runner, with its service and the service's answer.

use std::sync::{Arc, Mutex, PoisonError};

use ackonce::adapter::Delivery;
use ackonce::trace::{SpanOrigin, TraceContext};
use ackonce::{Answer, Class, Context, Handler, Item};
use ackonce_http::body::Share;
use ackonce_http::edge::trace_context_of;
use async_trait::async_trait;
use futures_util::future::join_all;
use http::Response;
use http::request::Parts;

use super::body::WebhookBody;
use crate::event::Event;

/// The work for an event.
#[async_trait]
pub(crate) trait Run: Send + Sync {
    async fn run(&self, cx: Context, arrival: Arrival) -> Answer;
}

/// A verified event as it came, with its request. Cloning is cheap.
#[derive(Clone)]
pub struct Arrival {
    pub(crate) event: Event,
    pub(crate) request: Arc<Parts>,
    run: Arc<dyn Run>,
    reply: Arc<Mutex<Option<Response<WebhookBody>>>>,
    /// The body's part of the budget, given back with the last of its events.
    _share: Arc<Share>,
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrival").field("event", &self.event).finish_non_exhaustive()
    }
}

impl Arrival {
    pub(crate) fn new(event: Event, request: Arc<Parts>, run: Arc<dyn Run>, share: Arc<Share>) -> Self {
        Self { event, request, run, reply: Arc::default(), _share: share }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Keeps a service's answer for the request that waits for it.
    pub(crate) fn reply(&self, response: Response<WebhookBody>) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    }

    pub(crate) fn take_reply(&self) -> Option<Response<WebhookBody>> {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Delivery for Arrival {
    type Message = Self;

    fn message(&self) -> Self {
        self.clone()
    }

    fn trace_context(&self) -> Option<TraceContext> {
        trace_context_of(&self.request.headers)
    }

    fn origin(&self) -> SpanOrigin<'_> {
        let mut origin = SpanOrigin::message("webhook", self.request.uri.path());
        origin.body_size = Some(self.event.payload().len());
        origin
    }
}

/// The runner's handler: each arrival carries its own service, so that one runner serves all the services
/// of a layer.
#[derive(Debug)]
pub(crate) struct Calls(pub(crate) Class);

#[async_trait]
impl Handler<Arrival> for Calls {
    fn class(&self) -> Class {
        self.0
    }

    async fn handle(&self, items: Vec<Item<Arrival>>) -> Vec<Answer> {
        join_all(items.into_iter().map(|item| self.handle_one(item))).await
    }

    async fn handle_one(&self, Item { cx, message }: Item<Arrival>) -> Answer {
        let run = message.run.clone();
        run.run(cx, message).await
    }
}
