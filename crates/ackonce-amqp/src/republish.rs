//! Publishing a copy of a message, and knowing that a queue has it.

use std::time::Duration;

use ackonce::BoxError;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Mutex;

use crate::connect::{Source, Trouble};
use crate::{Message, headers};

/// How long the broker may take to confirm one message.
const CONFIRM: Duration = Duration::from_secs(30);
/// The longest reason in a header, in bytes: all headers of a message must fit into one frame.
const REASON: usize = 4096;
/// `delivery_mode` of a message that outlives the broker's restart.
const PERSISTENT: u8 = 2;

/// Publishes with confirms, one message at a time.
///
/// On a connection of its own: a broker that is short of memory or disk stops reading from those that publish,
/// and acks that share one would wait, too.
#[derive(Debug)]
pub(crate) struct Publisher {
    source: Source,
    name: String,
    /// One at a time: lapin gives a returned message to whichever confirm of its channel comes next, so with
    /// two under way the wrong one would be taken for delivered.
    channel: Mutex<Option<Channel>>,
}

impl Publisher {
    pub(crate) fn new(source: Source, name: String) -> Self {
        Self { source, name, channel: Mutex::new(None) }
    }

    /// Publishes to where at least one queue takes it, and returns when that has confirmed it.
    ///
    /// # Errors
    /// No queue has it for certain; one may.
    pub(crate) async fn publish(
        &self,
        exchange: &ShortString,
        routing_key: &ShortString,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Result<(), BoxError> {
        let mut slot = self.channel.lock().await;
        // Put back after a confirm only: a channel that still owes one is not used again.
        let channel = match slot.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.open().await?,
        };
        let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
        let publishing = async {
            let (exchange, key) = (exchange.clone(), routing_key.clone());
            channel.basic_publish(exchange, key, mandatory, payload, properties).await?.await
        };
        let confirmation = match tokio::time::timeout(CONFIRM, publishing).await {
            Ok(confirmation) => confirmation?,
            Err(_) => return Err(format!("the broker did not confirm within {CONFIRM:?}").into()),
        };
        *slot = Some(channel);
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => Err(format!(
                "exchange {exchange:?} with routing key {routing_key:?} leads to no queue ({} {})",
                returned.reply_code, returned.reply_text
            )
            .into()),
            Confirmation::Nack(None) => Err("the broker refused the message: a queue is full".into()),
            Confirmation::NotRequested => Err("the channel does not confirm".into()),
        }
    }

    async fn open(&self) -> Result<Channel, Trouble> {
        let opening = async {
            let connection = self.source.connect(&self.name).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        tokio::time::timeout(CONFIRM, opening).await.unwrap_or(Err(Trouble::Slow))
    }
}

/// A reason as a header.
pub(crate) fn reason(text: &str) -> AMQPValue {
    let end = (0..=text.len().min(REASON)).rev().find(|end| text.is_char_boundary(*end));
    AMQPValue::LongString(text[..end.unwrap_or(0)].into())
}

/// What a copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    DeadLetter,
    Delay,
}

/// The properties of a copy: those of the original and `extra` headers, without what would send it elsewhere,
/// let it expire or have it refused; those are kept as headers of their own.
pub(crate) fn copied(message: &Message, purpose: Purpose, extra: Vec<(&str, AMQPValue)>) -> BasicProperties {
    let original = message.properties();
    let mut table = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(|t| t.inner()) {
        let name = match name.as_str() {
            "CC" => headers::CC.into(),
            "x-death" if purpose == Purpose::Delay => headers::X_DEATH.into(),
            _ => name.clone(),
        };
        table.insert(name, value.clone());
    }
    let mut moved = |name: &str, value: &Option<ShortString>| {
        if let Some(value) = value {
            table.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
        }
    };
    moved(headers::USER_ID, original.user_id());
    moved(headers::EXPIRATION, original.expiration());
    for (name, value) in extra {
        table.insert(name.into(), value);
    }
    let mut copy = BasicProperties::default().with_headers(table).with_delivery_mode(PERSISTENT);
    macro_rules! keep {
        ($($with:ident $get:ident),*) => {$(
            if let Some(value) = original.$get() {
                copy = copy.$with(value.clone());
            }
        )*};
    }
    keep!(
        with_content_type content_type, with_content_encoding content_encoding, with_priority priority,
        with_correlation_id correlation_id, with_reply_to reply_to, with_message_id message_id,
        with_timestamp timestamp, with_type kind, with_app_id app_id, with_cluster_id cluster_id
    );
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_nowhere_else_and_does_not_expire() {
        let mut table = FieldTable::default();
        let cc = AMQPValue::FieldArray(vec![AMQPValue::LongString("other".into())].into());
        table.insert("CC".into(), cc.clone());
        table.insert("tenant".into(), AMQPValue::LongString("a".into()));
        let original = BasicProperties::default()
            .with_headers(table)
            .with_message_id("m".into())
            .with_user_id("guest".into())
            .with_expiration("1000".into())
            .with_delivery_mode(1)
            .with_type("order".into());
        let mut delivery = lapin::message::Delivery::mock(1, "e".into(), "k".into(), false, Vec::new());
        delivery.properties = original;
        let copy = copied(
            &Message::take(&mut delivery),
            Purpose::DeadLetter,
            vec![("extra", AMQPValue::LongInt(1))],
        );
        assert_eq!((copy.user_id(), copy.expiration(), *copy.delivery_mode()), (&None, &None, Some(2)));
        assert_eq!(copy.message_id().as_ref().map(ShortString::as_str), Some("m"));
        assert_eq!(copy.kind().as_ref().map(ShortString::as_str), Some("order"));
        let headers = copy.headers().clone().unwrap();
        let keys: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(keys, ["ackonce-cc", "ackonce-expiration", "ackonce-user-id", "extra", "tenant"]);
        assert_eq!(headers.inner()["ackonce-cc"], cc);
    }
}
