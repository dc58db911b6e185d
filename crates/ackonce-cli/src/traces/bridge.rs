//! From the spans of [`ackonce::trace`] to those of OpenTelemetry, under the IDs that follow from key and fence.

use std::cell::Cell;

use ackonce::trace::{TraceContext, TraceHook};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::sampler::Decision;

thread_local! {
    /// The IDs of the span that this thread begins.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// The hook of this process.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) decision: Decision,
}

impl TraceHook for Bridge {
    fn samples(&self, trace_id: [u8; 16], parent: Option<&TraceContext>) -> bool {
        self.decision.samples(trace_id, parent)
    }

    fn place(
        &self,
        span: &Span,
        own: &TraceContext,
        parent: Option<&TraceContext>,
        link: Option<&TraceContext>,
    ) {
        let root = Context::new();
        let parent = match parent {
            Some(parent) => root.with_remote_span_context(span_context(parent)),
            None => root,
        };
        // The span is new, so that it has a parent to be set; where no layer wants it there is nothing to place.
        let _ = span.set_parent(parent);
        if let Some(link) = link {
            span.add_link(span_context(link));
        }
        let own = (TraceId::from_bytes(own.trace_id()), SpanId::from_bytes(own.span_id()));
        NEXT.set(Some(own));
        // Asked for its context, the span begins, on this thread.
        let _ = span.context();
        NEXT.set(None);
    }
}

fn span_context(context: &TraceContext) -> SpanContext {
    let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let state = context.tracestate().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace, span) = (TraceId::from_bytes(context.trace_id()), SpanId::from_bytes(context.span_id()));
    SpanContext::new(trace, span, flags, true, state)
}

/// Gives a span that is placed the IDs of its place.
#[derive(Debug, Default)]
pub(super) struct PlacedIds(RandomIdGenerator);

impl IdGenerator for PlacedIds {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}
