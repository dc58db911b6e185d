//! The trace context in the headers of a request.

use ackonce::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use http::{HeaderMap, HeaderValue};

/// The trace context of these headers.
#[must_use]
pub fn trace_context_of(headers: &HeaderMap) -> Option<TraceContext> {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    TraceContext::of_headers(values(TRACEPARENT), values(TRACESTATE))
}

/// Writes a context over the one that these headers have.
pub fn put_trace_context(headers: &mut HeaderMap, context: &TraceContext) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    let state = context.tracestate().and_then(|state| HeaderValue::from_str(state).ok());
    if let Ok(parent) = HeaderValue::from_str(&context.traceparent()) {
        headers.insert(TRACEPARENT, parent);
    }
    if let Some(state) = state {
        headers.insert(TRACESTATE, state);
    }
}
