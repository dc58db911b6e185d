//! The low level: one's own consumer loop around [`Runner::process`](ackonce::Runner::process).

use std::time::SystemTime;

use ackonce::adapter::{Delivery, Receipt, Unsettled};
use ackonce::trace::{SpanOrigin, TraceContext};
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::AmqpMessage;

/// A delivery of a consumer loop of your own, for [`Job::new`](ackonce::adapter::Job::new).
#[derive(Debug)]
pub struct AmqpDelivery {
    message: AmqpMessage,
    acker: Acker,
}

/// The result of an ack.
#[derive(Debug, Clone)]
#[must_use = "a message whose ack did not go out is delivered again"]
pub enum Acked {
    /// It was written to the socket. AMQP has no answer to it: should the connection break now, the message
    /// comes again and its record is found.
    Sent,
    /// The channel is gone, or failed: the broker delivers the message again. Not an error.
    RedeliveryExpected(Option<lapin::Error>),
}

impl AmqpDelivery {
    /// Takes a delivery of lapin's.
    #[must_use]
    pub fn new(mut delivery: lapin::message::Delivery) -> Self {
        let message = AmqpMessage::take(&mut delivery);
        Self { message, acker: delivery.acker }
    }

    /// The message.
    #[must_use]
    pub fn as_message(&self) -> &AmqpMessage {
        &self.message
    }
}

impl Delivery for AmqpDelivery {
    type Message = AmqpMessage;

    fn message(&self) -> AmqpMessage {
        self.message.clone()
    }

    /// False once lapin knows that its channel is gone.
    fn is_current(&self) -> bool {
        self.acker.usable()
    }

    fn published(&self) -> Option<SystemTime> {
        self.message.published()
    }

    fn trace_context(&self) -> Option<TraceContext> {
        self.message.trace_context()
    }

    fn origin(&self) -> SpanOrigin<'_> {
        self.message.trace_origin(self.message.exchange())
    }
}

/// Acknowledges a settled delivery.
///
/// lapin answers an ack on a dead channel with `Ok(false)`, which `?` alone would take for success; here it is
/// [`Acked::RedeliveryExpected`]. Give it a time-out where the broker may freeze.
pub async fn ack(receipt: Receipt<AmqpDelivery>) -> Acked {
    told(receipt.redeem().acker.ack(BasicAckOptions::default()).await)
}

/// Gives an unsettled delivery back to the broker, which delivers it again at once. On a quorum queue that counts
/// against its delivery limit (before RabbitMQ 4.3): do not use it for a message that is merely busy.
pub async fn give_back(unsettled: Unsettled<AmqpDelivery>) -> Acked {
    let again = BasicNackOptions { multiple: false, requeue: true };
    told(unsettled.delivery().acker.nack(again).await)
}

fn told(answer: lapin::Result<bool>) -> Acked {
    match answer {
        Ok(true) => Acked::Sent,
        Ok(false) => Acked::RedeliveryExpected(None),
        Err(error) => Acked::RedeliveryExpected(Some(error)),
    }
}
