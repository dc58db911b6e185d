//! RabbitMQ: the destination is a queue, or an exchange and a routing key.

use ackonce::Failure;
use ackonce_amqp::lapin::BasicProperties;
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable, ShortString};
use ackonce_amqp::{AmqpPublisher, AmqpRefusal};
use async_trait::async_trait;

use crate::{OutboxMessage, OutboxPublisher};

/// `delivery_mode` of a message that outlives the broker's restart.
const PERSISTENT: u8 = 2;
/// The header that has the key.
const KEY: &str = "ackonce-key";
/// Headers that the broker takes for further addresses; it closes the channel where they are no lists, which no header of an
/// outbox is.
const ADDRESSES: [&str; 2] = ["CC", "BCC"];

/// Publishes persistent messages with the property `message_id`, to `EXCHANGE/ROUTING-KEY`, or to a queue by its name alone.
/// A header `content-type` becomes the property, and the key the header `ackonce-key`. A message with a header `CC` or `BCC` is
/// parked.
#[async_trait]
impl OutboxPublisher for AmqpPublisher {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        let (exchange, routing_key) = message.to.split_once('/').unwrap_or(("", &message.to));
        let properties = properties(message)?;
        let sent = Self::publish(self, exchange, routing_key, properties, message.payload.clone()).await;
        sent.map_err(|refusal| match refusal {
            _ if refusal.is_about_the_message() => Failure::permanent(refusal),
            // A queue may be bound or emptied later, and other messages may lead elsewhere.
            AmqpRefusal::Nowhere(_) | AmqpRefusal::Full => Failure::Retry(refusal.into()),
            _ => Failure::infrastructure(refusal),
        })
    }
}

fn properties(message: &OutboxMessage) -> Result<BasicProperties, Failure> {
    let short = |text: &str| {
        ShortString::try_new(text).map_err(|_| Failure::permanent(format!("{text:.40}… is over 255 bytes")))
    };
    let bytes = |bytes: &[u8]| AMQPValue::LongString(bytes.into());
    let mut properties =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_message_id(short(&message.id)?);
    let mut table = FieldTable::default();
    if let Some(key) = &message.key {
        table.insert(KEY.into(), bytes(key));
    }
    for (name, value) in &message.headers {
        if ADDRESSES.contains(&&**name) {
            let why = "is for the broker's addresses; publish one message for each destination";
            return Err(Failure::permanent(format!("its header {name:?} {why}")));
        }
        if name.eq_ignore_ascii_case("content-type") {
            properties = properties.with_content_type(short(&String::from_utf8_lossy(value))?);
        } else {
            table.insert(short(name)?, bytes(value));
        }
    }
    Ok(properties.with_headers(table))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_that_the_broker_takes_for_addresses_is_refused_by_name() {
        let with = |name: &str| {
            properties(&OutboxMessage {
                id: "id".into(),
                to: "q".into(),
                key: None,
                headers: vec![(name.into(), "orders".into())],
                payload: "x".into(),
            })
        };
        for name in ADDRESSES {
            let refused = with(name).unwrap_err();
            assert!(
                matches!(refused, Failure::Permanent(_)) && refused.to_string().contains(name),
                "{refused}"
            );
        }
        assert!(with("cc").is_ok());
    }
}
