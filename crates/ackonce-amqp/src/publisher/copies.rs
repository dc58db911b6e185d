//! The properties of a copy of a message, for a dead letter or a delay.

use ackonce::adapter::{HeaderValue, MAX_REASON_LEN, cut};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::message::text;
use crate::{AmqpMessage, headers};

/// `delivery_mode` of a message that outlives the broker's restart.
const PERSISTENT: u8 = 2;
/// The address that the broker takes from its own callers alone.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";
/// Headers of ours that a message keeps from one delay queue to the next.
const KEPT: [&str; 6] =
    [headers::CC, headers::BCC, headers::X_DEATH, headers::USER_ID, headers::EXPIRATION, headers::REPLY_TO];

/// Passes properties of one message on to another: `keep!(copy, original; with_NAME NAME, …)`.
macro_rules! keep {
    ($copy:ident, $original:ident; $($with:ident $get:ident),*) => {$(
        if let Some(value) = $original.$get() {
            $copy = $copy.$with(value.clone());
        }
    )*};
}

/// The purpose of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    DeadLetter,
    Delay,
}

/// Headers that are added to a copy.
pub(crate) type Extra = Vec<(&'static str, AMQPValue)>;

/// The properties of a copy: those of the original and `extra` headers, without those that would send it elsewhere,
/// let it expire or have it refused; these are kept as headers of their own.
pub(crate) fn copied(message: &AmqpMessage, purpose: Purpose, extra: Extra) -> BasicProperties {
    let original = message.properties();
    let mut table = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(|t| t.inner()) {
        if let Some(name) = renamed(message, purpose, name) {
            table.insert(name, value.clone());
        }
    }
    let reply_to = login_aside(&mut table, original);
    expiration_aside(&mut table, original);
    for (name, value) in extra {
        table.insert(name.into(), value);
    }
    let mut copy = BasicProperties::default().with_headers(table).with_delivery_mode(PERSISTENT);
    if let Some(to) = reply_to {
        copy = copy.with_reply_to(to);
    }
    keep!(
        copy, original; with_content_type content_type, with_content_encoding content_encoding, with_priority priority,
        with_correlation_id correlation_id, with_message_id message_id,
        with_timestamp timestamp, with_type kind, with_app_id app_id, with_cluster_id cluster_id
    );
    copy
}

/// Keeps the properties that the broker takes from their own author alone as headers. Returns an address for replies that it
/// takes from all.
fn login_aside(table: &mut FieldTable, original: &BasicProperties) -> Option<ShortString> {
    if let Some(user) = original.user_id() {
        table.insert(headers::USER_ID.into(), text(user.as_str()));
    }
    let to = original.reply_to().as_ref()?;
    if to.as_str() == DIRECT_REPLY {
        table.insert(headers::REPLY_TO.into(), text(to.as_str()));
        return None;
    }
    Some(to.clone())
}

fn expiration_aside(table: &mut FieldTable, original: &BasicProperties) {
    if let Some(expiration) = original.expiration() {
        table.insert(headers::EXPIRATION.into(), text(expiration.as_str()));
    }
}

/// The properties of a letter that is published again, with all that it carries, but for the count of its returns, which is that
/// of the message before it. Properties that would send it elsewhere or have it refused are kept as headers; so is its
/// expiration, unless it `may_expire`.
pub(crate) fn anew(original: &BasicProperties, may_expire: bool) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(|table| table.inner()) {
        let name = match name.as_str() {
            "x-delivery-count" | "x-acquired-count" => continue,
            "CC" => headers::CC.into(),
            "BCC" => headers::BCC.into(),
            _ => name.clone(),
        };
        table.insert(name, value.clone());
    }
    let mut copy = BasicProperties::default();
    if let Some(to) = login_aside(&mut table, original) {
        copy = copy.with_reply_to(to);
    }
    match may_expire {
        true => keep!(copy, original; with_expiration expiration),
        false => expiration_aside(&mut table, original),
    }
    keep!(
        copy, original; with_content_type content_type, with_content_encoding content_encoding,
        with_delivery_mode delivery_mode, with_priority priority, with_correlation_id correlation_id,
        with_message_id message_id, with_timestamp timestamp, with_type kind, with_app_id app_id,
        with_cluster_id cluster_id
    );
    copy.with_headers(table)
}

/// The name of the original's header on the copy; `None` where the copy does not have it.
fn renamed(message: &AmqpMessage, purpose: Purpose, name: &ShortString) -> Option<ShortString> {
    let delay = purpose == Purpose::Delay;
    match name.as_str() {
        "CC" => Some(headers::CC.into()),
        "BCC" => Some(headers::BCC.into()),
        // Of a message that came by a delay queue it tells of that alone; the original's is kept beside it.
        "x-death" if delay => (!message.is_delayed()).then(|| headers::X_DEATH.into()),
        // A dead letter that came back keeps its identity, and its proof until it was claimed.
        headers::SCOPE
        | headers::MESSAGE_ID
        | headers::BURIAL
        | headers::REDRIVE_ACTOR
        | headers::REDRIVE_REASON
            if delay =>
        {
            Some(name.clone())
        }
        ours if ours.starts_with(headers::PREFIX) => {
            (message.is_delayed() && KEPT.contains(&ours)).then(|| name.clone())
        }
        _ => Some(name.clone()),
    }
}

/// The origin of a message.
pub(crate) fn origin(message: &AmqpMessage, queue: &ShortString) -> Extra {
    vec![
        (headers::EXCHANGE, text(message.exchange())),
        (headers::ROUTING_KEY, text(message.routing_key())),
        (headers::QUEUE, text(queue.as_str())),
    ]
}

/// A reason as a header.
pub(crate) fn reason(reason: &str) -> AMQPValue {
    text(cut(reason, MAX_REASON_LEN))
}

pub(crate) fn value(of: HeaderValue<'_>) -> AMQPValue {
    match of {
        HeaderValue::Bytes(bytes) => text(bytes),
        HeaderValue::Number(number) => AMQPValue::LongLongInt(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(exchange: &str, key: &str, properties: BasicProperties) -> AmqpMessage {
        let mut delivery = lapin::message::Delivery::mock(1, exchange.into(), key.into(), false, Vec::new());
        delivery.properties = properties;
        AmqpMessage::take(&mut delivery)
    }

    fn keys(properties: &BasicProperties) -> Vec<String> {
        properties.headers().iter().flat_map(|t| t.inner().keys()).map(|k| k.as_str().to_owned()).collect()
    }

    #[test]
    fn a_copy_goes_nowhere_else_and_does_not_expire() {
        let mut table = FieldTable::default();
        let cc = AMQPValue::FieldArray(vec![text("other")].into());
        table.insert("CC".into(), cc.clone());
        table.insert("BCC".into(), text("garbage"));
        table.insert("tenant".into(), text("a"));
        let original = BasicProperties::default()
            .with_headers(table)
            .with_message_id("m".into())
            .with_user_id("guest".into())
            .with_expiration("1000".into())
            .with_reply_to(DIRECT_REPLY.into())
            .with_delivery_mode(1)
            .with_type("order".into());
        let extra = vec![("extra", AMQPValue::LongInt(1))];
        let copy = copied(&message("e", "k", original), Purpose::DeadLetter, extra);
        assert_eq!((copy.user_id(), copy.expiration(), *copy.delivery_mode()), (&None, &None, Some(2)));
        assert_eq!(copy.reply_to(), &None, "the broker refuses it from anybody but its caller");
        assert_eq!(copy.message_id().as_ref().map(ShortString::as_str), Some("m"));
        assert_eq!(copy.kind().as_ref().map(ShortString::as_str), Some("order"));
        assert_eq!(
            keys(&copy),
            [
                headers::BCC,
                headers::CC,
                headers::EXPIRATION,
                headers::REPLY_TO,
                headers::USER_ID,
                "extra",
                "tenant"
            ]
        );
        assert_eq!(copy.headers().clone().unwrap().inner()["ackonce-cc"], cc);
    }

    #[test]
    fn a_letter_anew_carries_all_and_goes_nowhere_else() {
        let mut table = FieldTable::default();
        for name in ["CC", "BCC", "x-delivery-count", "x-death", headers::QUEUE] {
            table.insert(name.into(), text("orders"));
        }
        let original = BasicProperties::default()
            .with_headers(table)
            .with_user_id("somebody".into())
            .with_reply_to(DIRECT_REPLY.into())
            .with_expiration("1000".into())
            .with_delivery_mode(1)
            .with_message_id("m".into());
        let same = anew(&original, true);
        let aside =
            [headers::BCC, headers::CC, headers::QUEUE, headers::REPLY_TO, headers::USER_ID, "x-death"];
        assert_eq!(keys(&same), aside);
        assert_eq!((same.user_id(), same.reply_to(), *same.delivery_mode()), (&None, &None, Some(1)));
        assert_eq!((same.expiration(), same.message_id()), (original.expiration(), original.message_id()));
        let moved = anew(&original, false);
        assert!(moved.expiration().is_none() && keys(&moved).contains(&headers::EXPIRATION.to_owned()));
        let plain = BasicProperties::default().with_reply_to("answers".into());
        assert_eq!(anew(&plain, true).reply_to(), plain.reply_to());
    }

    /// Each attempt of a message is in the trace of its producer.
    #[test]
    fn a_copy_keeps_the_trace_context_of_its_message() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut table = FieldTable::default();
        table.insert("traceparent".into(), text(context));
        table.insert("tracestate".into(), text("a=1"));
        let came = message("e", "k", BasicProperties::default().with_headers(table));
        for purpose in [Purpose::DeadLetter, Purpose::Delay] {
            let copy = message("", "q", copied(&came, purpose, Vec::new()));
            assert_eq!(copy.trace_context(), came.trace_context());
            assert_eq!(copy.trace_context().unwrap().traceparent(), context);
        }
    }

    #[test]
    fn headers_of_ours_are_replaced_and_not_appended() {
        let mut table = FieldTable::default();
        for name in [headers::ERROR, headers::CC, headers::DELAYED_ROUTING_KEY, "ackonce-unheard-of"] {
            table.insert(name.into(), text("a stranger's"));
        }
        let came = message("e", "k", BasicProperties::default().with_headers(table));
        let extra = vec![(headers::ERROR, text("new"))];
        let copy = copied(&came, Purpose::DeadLetter, extra);
        assert_eq!(keys(&copy), [headers::ERROR]);
        assert_eq!(copy.headers().as_ref().unwrap().inner()[headers::ERROR], text("new"));
    }

    #[test]
    fn a_second_delay_keeps_the_first_message_s_own_headers() {
        let mut death = FieldTable::default();
        death.insert("queue".into(), text("q.delay.5"));
        death.insert("reason".into(), text("expired"));
        let mut table = FieldTable::default();
        table.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
        table.insert(headers::X_DEATH.into(), text("the first"));
        table.insert(headers::EXPIRATION.into(), text("1000"));
        table.insert(headers::ERROR.into(), text("old"));
        let came = message("", "q", BasicProperties::default().with_headers(table));
        let copy = copied(&came, Purpose::Delay, Vec::new());
        assert_eq!(keys(&copy), [headers::EXPIRATION, headers::X_DEATH]);
        assert_eq!(copy.headers().as_ref().unwrap().inner()[headers::X_DEATH], text("the first"));
    }
}
