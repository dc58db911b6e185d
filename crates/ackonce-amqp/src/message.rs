//! An AMQP message as handlers see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use ackonce::adapter::Identify;
use ackonce::trace::{SpanOrigin, TRACEPARENT, TRACESTATE, TraceContext};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, LongString, ShortString};

use crate::headers;

/// The name under which [`IdSource::Header`](ackonce::IdSource::Header) reads the `message_id` *property*
/// instead of a header of that name.
pub const MESSAGE_ID_PROPERTY: &str = "amqp:message-id";

/// The longest short string of AMQP, in bytes: exchanges, routing keys, queues.
pub(crate) const SHORT: usize = 255;

/// An AMQP message. Cloning is cheap.
#[derive(Clone)]
pub struct AmqpMessage(Arc<Inner>);

struct Inner {
    exchange: ShortString,
    routing_key: ShortString,
    redelivered: bool,
    properties: BasicProperties,
    payload: Vec<u8>,
    /// True if it came back from a delay queue of ours.
    delayed: bool,
    /// Headers that are numbers, as text; made when the first of them is asked for.
    numbers: OnceLock<BTreeMap<ShortString, String>>,
}

impl AmqpMessage {
    /// Takes the content of a delivery, and leaves it its tag and its acker.
    pub(crate) fn take(delivery: &mut lapin::message::Delivery) -> Self {
        let (exchange, routing_key) =
            (std::mem::take(&mut delivery.exchange), std::mem::take(&mut delivery.routing_key));
        let properties = std::mem::take(&mut delivery.properties);
        Self(Arc::new(Inner {
            delayed: exchange.as_str().is_empty() && expired_in_delay_queue_of(&routing_key, &properties),
            exchange,
            routing_key,
            redelivered: delivery.redelivered,
            properties,
            payload: std::mem::take(&mut delivery.data),
            numbers: OnceLock::new(),
        }))
    }

    /// The exchange it was published to; empty for the default exchange. A message that came by a delay queue
    /// ([`AmqpConsumer::with_delays`](crate::AmqpConsumer::with_delays)) still shows its first one.
    #[must_use]
    pub fn exchange(&self) -> &str {
        self.first(headers::DELAYED_EXCHANGE).unwrap_or(self.0.exchange.as_str())
    }

    /// The routing key it was published with; as [`exchange`](Self::exchange), the first one.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        self.first(headers::DELAYED_ROUTING_KEY).unwrap_or(self.0.routing_key.as_str())
    }

    /// True if it came by a delay queue: its own exchange is the default one, and the broker says that it expired in
    /// `<routing key>.delay.<milliseconds>`. Only with the right to publish to the default exchange, and so to this
    /// queue under any name, can somebody forge that.
    pub(crate) fn is_delayed(&self) -> bool {
        self.0.delayed
    }

    /// The number of delay queues it has come by since it was published.
    pub(crate) fn hops(&self) -> u32 {
        let hops = self.0.delayed.then(|| self.value(headers::DELAYS)).flatten();
        hops.and_then(number).and_then(|hops| hops.parse().ok()).unwrap_or(0)
    }

    /// A property of its first publishing that a delay queue's copy keeps as a header: where it may be believed and
    /// fits.
    fn first(&self, name: &str) -> Option<&str> {
        let kept = self.0.delayed.then(|| self.text(name)).flatten();
        kept.filter(|text| text.len() <= SHORT)
    }

    /// True if the broker may have delivered it before. It does not count: messages before it in the queue of
    /// a lost connection are marked too.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.0.redelivered
    }

    /// The number of its returns to a quorum queue (`x-delivery-count`); `None` on other queues and, before
    /// RabbitMQ 4, on a first delivery.
    #[must_use]
    pub fn delivery_count(&self) -> Option<u64> {
        number(self.value("x-delivery-count")?)?.parse().ok()
    }

    /// The property `message_id`.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        self.0.properties.message_id().as_ref().map(ShortString::as_str)
    }

    /// The properties, headers among them.
    #[must_use]
    pub fn properties(&self) -> &BasicProperties {
        &self.0.properties
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0.payload
    }

    /// A header that is text or bytes.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.value(name).and_then(bytes)
    }

    /// Its property `timestamp`, which has whole seconds.
    pub(crate) fn published(&self) -> Option<SystemTime> {
        let seconds = (*self.properties().timestamp())?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// Its place, for the attributes of its span.
    pub(crate) fn trace_origin<'a>(&'a self, destination: &'a str) -> SpanOrigin<'a> {
        let mut origin = SpanOrigin::message("rabbitmq", destination);
        origin.routing_key = Some(self.routing_key().into());
        origin.body_size = Some(self.payload().len());
        origin
    }

    /// The trace context in its headers, which are text in AMQP.
    pub(crate) fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::of_headers(self.header(TRACEPARENT).into_iter(), self.header(TRACESTATE).into_iter())
    }

    /// A header that is UTF-8.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub(crate) fn value(&self, name: &str) -> Option<&AMQPValue> {
        self.0.properties.headers().as_ref()?.inner().get(name)
    }

    /// A header as an ID: text and bytes as they are, whole numbers as text.
    fn id_header(&self, name: &str) -> Option<&[u8]> {
        let value = self.value(name)?;
        let text = || {
            let numbers = self.0.numbers.get_or_init(|| self.number_headers());
            numbers.get(name).map(String::as_bytes)
        };
        // Present and unusable (a table, a truth value) is not missing: an empty ID is refused as malformed.
        bytes(value).or_else(text).or(Some(b""))
    }

    fn number_headers(&self) -> BTreeMap<ShortString, String> {
        let all = self.0.properties.headers().iter().flat_map(|table| table.inner());
        all.filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect()
    }
}

/// True if the broker's newest `x-death` entry names a delay queue of this queue.
fn expired_in_delay_queue_of(queue: &ShortString, properties: &BasicProperties) -> bool {
    let headers = properties.headers().as_ref().map(|table| table.inner());
    let Some(AMQPValue::FieldArray(deaths)) = headers.and_then(|headers| headers.get("x-death")) else {
        return false;
    };
    let Some(AMQPValue::FieldTable(newest)) = deaths.as_slice().first() else { return false };
    let text = |name| newest.inner().get(name).and_then(bytes);
    let place = text("queue").and_then(|name| name.strip_prefix(queue.as_str().as_bytes()));
    let wait = place.and_then(|rest| rest.strip_prefix(b".delay."));
    text("reason") == Some(b"expired".as_slice())
        && wait.is_some_and(|wait| !wait.is_empty() && wait.iter().all(u8::is_ascii_digit))
}

fn bytes(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice()),
        _ => None,
    }
}

/// A whole number as text.
pub(crate) fn number(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::ShortShortInt(n) => n.to_string(),
        AMQPValue::ShortShortUInt(n) => n.to_string(),
        AMQPValue::ShortInt(n) => n.to_string(),
        AMQPValue::ShortUInt(n) => n.to_string(),
        AMQPValue::LongInt(n) => n.to_string(),
        AMQPValue::LongUInt(n) => n.to_string(),
        AMQPValue::LongLongInt(n) => n.to_string(),
        AMQPValue::Timestamp(n) => n.to_string(),
        _ => return None,
    })
}

impl fmt::Debug for AmqpMessage {
    /// Its origin, never its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.exchange(), self.routing_key())
    }
}

impl Identify for AmqpMessage {
    fn headers<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(Identify::header(self, name).into_iter())
    }

    fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        match name {
            MESSAGE_ID_PROPERTY => self.message_id().map(str::as_bytes),
            name => self.id_header(name),
        }
    }

    /// The routing key: right only where it names a business event.
    fn key(&self) -> Option<&[u8]> {
        Some(self.routing_key().as_bytes())
    }

    /// Always there: an AMQP message without a body has an empty one.
    fn payload(&self) -> Option<&[u8]> {
        Some(self.payload())
    }

    /// A queue has none: a delivery tag counts deliveries, and starts again with each channel.
    fn coordinates(&self) -> Option<Vec<u8>> {
        None
    }
}

/// A header that is text or bytes.
pub(crate) fn text(value: impl Into<LongString>) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[cfg(test)]
mod tests {
    use ackonce::{IdError, IdSource, MessageIds};
    use lapin::types::FieldTable;

    use super::*;

    fn message(properties: BasicProperties) -> AmqpMessage {
        let mut delivery = lapin::message::Delivery::mock(1, "e".into(), "k".into(), false, b"body".to_vec());
        delivery.properties = properties;
        AmqpMessage::take(&mut delivery)
    }

    fn with_header(name: &str, value: AMQPValue) -> AmqpMessage {
        let mut table = FieldTable::default();
        table.insert(name.into(), value);
        message(BasicProperties::default().with_headers(table))
    }

    fn find(source: &str, message: &AmqpMessage) -> Result<Vec<u8>, IdError> {
        MessageIds::first_of([IdSource::Header(source.into())]).find(message).map(|id| id.to_vec())
    }

    fn delivered(exchange: &str, key: &str, died_in: &str, table: &[(&str, AMQPValue)]) -> AmqpMessage {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut death = FieldTable::default();
        death.insert("queue".into(), text(died_in));
        death.insert("reason".into(), text("expired"));
        let mut headers = FieldTable::default();
        headers.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
        for (name, value) in table {
            headers.insert((*name).into(), value.clone());
        }
        let mut delivery = lapin::message::Delivery::mock(1, exchange.into(), key.into(), false, Vec::new());
        delivery.properties = BasicProperties::default().with_headers(headers);
        AmqpMessage::take(&mut delivery)
    }

    #[test]
    fn a_strangers_delay_headers_count_only_on_what_came_by_a_delay_queue() {
        let long = "k".repeat(300);
        let text = |text: &str| AMQPValue::LongString(text.into());
        let table = [
            (headers::DELAYED_EXCHANGE, text("first")),
            (headers::DELAYED_ROUTING_KEY, text("order.new")),
            (headers::DELAYS, AMQPValue::LongLongInt(3)),
        ];
        let shown = |m: &AmqpMessage| (m.exchange().to_owned(), m.routing_key().to_owned(), m.hops());
        let ours = delivered("", "q", "q.delay.500", &table);
        assert_eq!(shown(&ours), ("first".to_owned(), "order.new".to_owned(), 3));
        for (exchange, key, died_in) in [
            ("orders", "q", "q.delay.500"),
            ("", "q", "other.delay.500"),
            ("", "q", "q.delay."),
            ("", "q", "q.delay.5x"),
            ("", "q", "q"),
            ("", "q", ""),
        ] {
            let forged = delivered(exchange, key, died_in, &table);
            assert_eq!(shown(&forged), (exchange.to_owned(), key.to_owned(), 0), "{died_in}");
        }
        let unfit = delivered("", "q", "q.delay.500", &[(headers::DELAYED_ROUTING_KEY, text(&long))]);
        assert_eq!(shown(&unfit), (String::new(), "q".to_owned(), 0));
    }

    #[test]
    fn the_property_and_a_header_of_its_name_are_two_things() {
        let by_property = message(BasicProperties::default().with_message_id("p".into()));
        assert_eq!(find(MESSAGE_ID_PROPERTY, &by_property).unwrap(), b"p");
        assert!(matches!(find("message-id", &by_property), Err(IdError::Missing(_))));
        let by_header = with_header("message-id", AMQPValue::LongString("h".into()));
        assert_eq!(find("message-id", &by_header).unwrap(), b"h");
        assert!(matches!(find(MESSAGE_ID_PROPERTY, &by_header), Err(IdError::Missing(_))));
        let forged = with_header(MESSAGE_ID_PROPERTY, AMQPValue::LongString("h".into()));
        assert!(matches!(find(MESSAGE_ID_PROPERTY, &forged), Err(IdError::Missing(_))), "the property only");
    }

    #[test]
    fn ids_are_bytes_text_or_whole_numbers() {
        let id = |value| find("id", &with_header("id", value));
        assert_eq!(id(AMQPValue::LongString(b"\xff\0".to_vec().into())).unwrap(), b"\xff\0");
        assert_eq!(id(AMQPValue::ByteArray(b"\x01".as_slice().into())).unwrap(), b"\x01");
        assert_eq!(id(AMQPValue::LongLongInt(-7)).unwrap(), b"-7");
        assert_eq!(id(AMQPValue::LongUInt(u32::MAX)).unwrap(), b"4294967295");
        for unusable in [AMQPValue::Boolean(true), AMQPValue::Void, AMQPValue::Double(1.0)] {
            assert!(matches!(id(unusable), Err(IdError::Malformed { .. })), "present is not missing");
        }
    }

    #[test]
    fn what_a_quorum_queue_counts_is_a_number() {
        assert_eq!(with_header("x-delivery-count", AMQPValue::LongLongInt(3)).delivery_count(), Some(3));
        assert_eq!(with_header("x-delivery-count", AMQPValue::LongString("x".into())).delivery_count(), None);
        assert_eq!(message(BasicProperties::default()).delivery_count(), None);
    }
}
