//! Traces: a span for each run, each duplicate, each dead letter and each message that goes out.
//!
//! Spans are those of `tracing`, with the target [`TARGET`] and the attributes of OpenTelemetry's messaging conventions. They
//! are made only if the program has installed a [`TraceHook`] and that samples the trace, so a program without one pays
//! nothing, and a trace that is not recorded costs a look at one header.
//!
//! A run's span is a child of the message's own context (the header `traceparent`), so that all attempts of a message, those
//! from a retry topic and those of its dead letter among them, are in the trace of its producer. A message without a context
//! has a trace of its own, whose ID follows from its key.
//!
//! The ID of a run's span follows from its key and its fence, which every store keeps: a duplicate's span is linked to the run
//! that it repeats, and no record grows for it. The link is right if both deliveries are in one trace. If a producer publishes a
//! message twice in two traces, the link names a span that its own trace does not have; then `ackonce.repeats` leads to the
//! run, which has the same text in `ackonce.run`.

mod context;
mod origin;
mod outgoing;
mod run;
mod run_span;

use std::sync::OnceLock;

use tracing::Span;

pub use self::context::{TRACEPARENT, TRACESTATE, TraceContext};
pub use self::origin::SpanOrigin;
pub(crate) use self::outgoing::letter;
pub use self::outgoing::{OutgoingSpan, outgoing};
pub(crate) use self::run::{duplicate, run};
pub(crate) use self::run_span::RunSpan;

use crate::key::Key;
use crate::ticket::Delivery;

/// The target of all spans of this module.
pub const TARGET: &str = "ackonce::trace";

/// The connection of our spans to a tracing system, such as OpenTelemetry.
pub trait TraceHook: Send + Sync + 'static {
    /// True if a trace is to be recorded. `parent` is the context that the message came with. Asked once or twice for each
    /// delivery, so it has to be cheap.
    fn samples(&self, trace_id: [u8; 16], parent: Option<&TraceContext>) -> bool;

    /// Gives a new span its place: its own IDs, the parent, and the span that it is linked to. It has not been entered yet.
    fn place(
        &self,
        span: &Span,
        own: &TraceContext,
        parent: Option<&TraceContext>,
        link: Option<&TraceContext>,
    );
}

static HOOK: OnceLock<Box<dyn TraceHook>> = OnceLock::new();

/// Installs the hook of this process. Call it before a consumer, layer or runner is made.
///
/// # Errors
/// The hook, if there is one already.
pub fn set_trace_hook(hook: Box<dyn TraceHook>) -> Result<(), Box<dyn TraceHook>> {
    HOOK.set(hook)
}

/// The trace of a delivery that is recorded.
struct Sampled {
    hook: &'static dyn TraceHook,
    trace_id: [u8; 16],
    parent: Option<TraceContext>,
}

impl Sampled {
    /// `None` if the delivery is not traced.
    fn of(delivery: &impl Delivery, key: &Key) -> Option<Self> {
        let hook = &**HOOK.get()?;
        let parent = delivery.trace_context();
        let trace_id = parent.as_ref().map_or_else(|| own_trace(key), TraceContext::trace_id);
        hook.samples(trace_id, parent.as_ref()).then_some(Self { hook, trace_id, parent })
    }

    /// The same for work of a span that is recorded.
    fn below(parent: &TraceContext) -> Option<Self> {
        let (hook, trace_id) = (&**HOOK.get()?, parent.trace_id());
        Some(Self { hook, trace_id, parent: Some(parent.clone()) })
    }

    /// Puts a span into the trace, below its parent.
    fn place(&self, span: &Span, id: [u8; 8], link: Option<[u8; 8]>) -> TraceContext {
        let at = |id| TraceContext::at(self.trace_id, id, self.parent.as_ref());
        let (own, link) = (at(id), link.map(at));
        self.hook.place(span, &own, self.parent.as_ref(), link.as_ref());
        own
    }
}

/// The trace of a message that came without a context: half of the key's digest. All deliveries of the message are in it.
fn own_trace(key: &Key) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&key.digest()[16..]);
    id[15] |= 1;
    id
}

/// The ID of a span that nothing has to find again.
fn random() -> [u8; 8] {
    (rand::random::<u64>() | 1).to_be_bytes()
}

#[cfg(test)]
mod tests;
