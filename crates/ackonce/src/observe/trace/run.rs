//! The spans of runs and of duplicates.

use sha2::{Digest, Sha256};
use tracing::Span;
use tracing::field::Empty;

use super::{RunSpan, Sampled, SpanOrigin, random};
use crate::claim::Lease;
use crate::class::Class;
use crate::key::{Key, hex};
use crate::record::{Record, State};
use crate::ticket::Delivery;

/// Begins a run's span; `None` if its trace is not recorded.
pub(crate) fn run(delivery: &impl Delivery, lease: &Lease, class: Class) -> Option<Box<RunSpan>> {
    let key = &lease.key;
    let sampled = Sampled::of(delivery, key)?;
    let (origin, id) = (delivery.origin(), run_id(key, lease.fence));
    let span = span(&origin, key, class);
    span.record("ackonce.attempt", i64::from(lease.attempt));
    span.record("ackonce.fence", signed(lease.fence));
    span.record("ackonce.run", hex(&id));
    let context = sampled.place(&span, id, None);
    Some(RunSpan::new(span, context))
}

/// The span of a delivery whose message was settled before, linked to the run that settled it.
pub(crate) fn duplicate(delivery: &impl Delivery, key: &Key, class: Class, record: &Record) {
    let Some(sampled) = Sampled::of(delivery, key) else { return };
    let (origin, run) = (delivery.origin(), run_id(key, record.fence));
    let span = span(&origin, key, class);
    span.record("ackonce.attempt", i64::from(record.attempt));
    span.record("ackonce.fence", signed(record.fence));
    span.record("ackonce.repeats", hex(&run));
    let answer = if record.state == State::Buried { "duplicate-of-buried" } else { "duplicate" };
    span.record("ackonce.answer", answer);
    sampled.place(&span, random(), Some(run));
}

/// The ID of a run's span: 8 bytes of SHA-256 over its key and its fence.
fn run_id(key: &Key, fence: u64) -> [u8; 8] {
    let mut hasher = Sha256::new();
    hasher.update(b"ackonce run\0");
    hasher.update(key.digest());
    hasher.update(fence.to_be_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hasher.finalize()[..8]);
    id[7] |= 1;
    id
}

/// OpenTelemetry's numbers have a sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A span of the processing of a delivery.
fn span(origin: &SpanOrigin<'_>, key: &Key, class: Class) -> Span {
    let is_request = origin.method.is_some();
    let name = match &origin.method {
        Some(method) => method.to_string(),
        None if origin.destination.is_empty() => format!("process {}", key.scope().name()),
        None => format!("process {}", origin.destination),
    };
    let message = (!origin.system.is_empty()).then_some(());
    tracing::info_span!(target: super::TARGET, "process",
        otel.name = name,
        otel.kind = if is_request { "server" } else { "consumer" },
        otel.status_code = Empty,
        otel.status_description = Empty,
        "error.type" = Empty,
        messaging.system = message.map(|()| origin.system),
        messaging.operation.name = message.map(|()| "process"),
        "messaging.operation.type" = message.map(|()| "process"),
        messaging.destination.name = message.map(|()| &*origin.destination),
        messaging.destination.partition.id = origin.partition.map(|partition| partition.to_string()),
        messaging.consumer.group.name = origin.group.as_deref(),
        messaging.message.id = %key.id().escape_ascii(),
        messaging.message.body.size = origin.body_size.map(|size| signed(size as u64)),
        messaging.kafka.offset = origin.offset,
        messaging.rabbitmq.destination.routing_key = origin.routing_key.as_deref(),
        messaging.rabbitmq.message.delivery_tag = origin.delivery_tag.map(signed),
        http.request.method = origin.method.as_deref(),
        url.path = origin.path.as_deref(),
        ackonce.scope = key.scope().name(),
        ackonce.class = class.as_str(),
        ackonce.attempt = Empty,
        ackonce.fence = Empty,
        ackonce.answer = Empty,
        ackonce.run = Empty,
        ackonce.repeats = Empty,
    )
}
