//! The span of a run, for as long as the run lasts.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Span;

use super::TraceContext;
use crate::failure::Failure;

/// The span of one run, from the call of its handler to its settlement. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct RunSpan {
    pub(crate) span: Span,
    pub(crate) context: Arc<TraceContext>,
    /// Recorded at the end, because an attribute that is recorded twice is there twice.
    answer: Mutex<&'static str>,
}

impl RunSpan {
    pub(super) fn new(span: Span, context: TraceContext) -> Box<Self> {
        Box::new(Self { span, context: Arc::new(context), answer: Mutex::new("cancelled") })
    }

    /// The handler has answered, or was cancelled.
    pub(crate) fn answered<T>(&self, answer: &Result<T, Failure>) {
        match answer {
            Ok(_) => self.ends("completed"),
            Err(failure) => {
                self.ends("failed");
                self.fails(kind(failure), failure);
            }
        }
    }

    /// Its answer so far; the last one counts.
    pub(crate) fn ends(&self, answer: &'static str) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    pub(crate) fn fails(&self, kind: &'static str, why: impl Display) {
        self.span.record("error.type", kind);
        self.span.record("otel.status_code", "ERROR");
        self.span.record("otel.status_description", why.to_string());
    }
}

impl Drop for RunSpan {
    fn drop(&mut self) {
        self.span.record("ackonce.answer", *self.answer.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

/// `error.type` of a failure.
fn kind(failure: &Failure) -> &'static str {
    match failure {
        Failure::Retry(_) => "retry",
        Failure::Permanent(_) => "permanent",
        Failure::Infrastructure(_) => "infrastructure",
        Failure::Unknown(_) => "unknown",
        Failure::Cancelled(_) => "cancelled",
        Failure::Fenced => "fenced",
        Failure::Store(_) => "store",
    }
}
