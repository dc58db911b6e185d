//! The spans of messages and requests that a run sends.

use tracing::Span;
use tracing::field::Empty;

use super::{RunSpan, Sampled, TraceContext, random};
use crate::context::Context;
use crate::key::Key;
use crate::ticket::Delivery;

/// A message or request on its way out of a run, with its span, which ends when this is dropped.
#[derive(Debug)]
pub struct OutgoingSpan {
    span: Span,
    context: TraceContext,
}

impl OutgoingSpan {
    /// The span, for [`Instrument`](tracing::Instrument).
    #[must_use]
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// The context for the headers `traceparent` and `tracestate`.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// It could not be sent.
    pub fn fails(&self, why: &dyn std::fmt::Display) {
        self.span.record("otel.status_code", "ERROR");
        self.span.record("otel.status_description", why.to_string());
    }
}

/// Begins the span of a message that a handler's run sends to `destination` of a messaging system (`kafka`, `rabbitmq`), or
/// of a request, for the system `http`. `None` if the run is not traced: then the context that the message came with is the
/// one to pass on.
///
/// ```
/// # use ackonce::{Context, trace};
/// fn headers(cx: &Context) -> Option<String> {
///     let outgoing = trace::outgoing(cx, "kafka", "invoices")?;
///     Some(outgoing.context().traceparent())
/// }
/// ```
#[must_use]
pub fn outgoing(cx: &Context, system: &'static str, destination: &str) -> Option<OutgoingSpan> {
    let sampled = Sampled::below(cx.trace_context()?)?;
    let span = match system {
        "http" => tracing::info_span!(target: super::TARGET, "request",
            otel.name = "POST", otel.kind = "client", otel.status_code = Empty, otel.status_description = Empty,
            http.request.method = "POST", server.address = destination),
        _ => message(system, &format!("send {destination}"), destination, cx.key(), "send"),
    };
    let context = sampled.place(&span, random(), None);
    Some(OutgoingSpan { span, context })
}

/// Begins the span of a dead letter, below the run that failed, or below the message's own context if there was none. `None`
/// if the dead-letter place has no name, too: then no letter is sent.
pub(crate) fn letter(
    run: Option<&RunSpan>,
    delivery: &impl Delivery,
    key: &Key,
    place: &str,
) -> Option<OutgoingSpan> {
    if place.is_empty() {
        return None;
    }
    let sampled = match run {
        // As its run: a request that has run has given its headers away.
        Some(RunSpan { context, .. }) => Sampled::below(context)?,
        None => Sampled::of(delivery, key)?,
    };
    let span = message(delivery.origin().system, &format!("bury {place}"), place, key, "bury");
    let context = sampled.place(&span, random(), None);
    Some(OutgoingSpan { span, context })
}

fn message(system: &'static str, name: &str, destination: &str, key: &Key, operation: &'static str) -> Span {
    let destination = (!destination.is_empty()).then_some(destination);
    tracing::info_span!(target: super::TARGET, "send",
        otel.name = name.trim_end(), otel.kind = "producer", otel.status_code = Empty, otel.status_description = Empty,
        messaging.system = (!system.is_empty()).then_some(system),
        messaging.operation.name = operation,
        "messaging.operation.type" = "send",
        messaging.destination.name = destination,
        messaging.message.id = %key.id().escape_ascii(),
        ackonce.scope = key.scope().name(),
    )
}
