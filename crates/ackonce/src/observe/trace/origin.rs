//! The origin of a delivery, for the attributes of its span.

use std::borrow::Cow;

/// The origin of a delivery, by the terms of OpenTelemetry's
/// [messaging conventions](https://opentelemetry.io/docs/specs/semconv/messaging/). It is asked for only if the delivery is
/// traced.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SpanOrigin<'a> {
    /// `messaging.system`: `kafka`, `rabbitmq`. Empty for a request that is no message.
    pub system: &'static str,
    /// `messaging.destination.name`: topic or queue.
    pub destination: Cow<'a, str>,
    /// `messaging.consumer.group.name`.
    pub group: Option<Cow<'a, str>>,
    /// `messaging.destination.partition.id`.
    pub partition: Option<i32>,
    /// `messaging.kafka.offset`.
    pub offset: Option<i64>,
    /// `messaging.rabbitmq.destination.routing_key`.
    pub routing_key: Option<Cow<'a, str>>,
    /// `messaging.rabbitmq.message.delivery_tag`.
    pub delivery_tag: Option<u64>,
    /// `messaging.message.body.size`, in bytes.
    pub body_size: Option<usize>,
    /// `http.request.method`. A span with it is of kind server.
    pub method: Option<Cow<'a, str>>,
    /// `url.path`.
    pub path: Option<Cow<'a, str>>,
}

impl<'a> SpanOrigin<'a> {
    /// A message of this system, from a topic or queue.
    #[must_use]
    pub fn message(system: &'static str, destination: impl Into<Cow<'a, str>>) -> Self {
        Self { system, destination: destination.into(), ..Self::default() }
    }

    /// An HTTP request.
    #[must_use]
    pub fn request(method: impl Into<Cow<'a, str>>, path: impl Into<Cow<'a, str>>) -> Self {
        Self { method: Some(method.into()), path: Some(path.into()), ..Self::default() }
    }
}
