//! A sink as the handler of every adapter.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{Answer, CancellationToken, Class, Effect, Failure, Handler, Item};
use ackonce_webhook::Event;
use async_trait::async_trait;

use crate::presence::Presence;
use crate::{RelayMessage, Sink};

/// Hands messages to a sink. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Deliver {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) class: Class,
    /// True if a message that the sink refuses has a place to be buried in.
    pub(crate) buries: bool,
    /// The relay's shutdown; also cancelled when the sink is gone for good.
    pub(crate) shutdown: CancellationToken,
    /// [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout).
    pub(crate) shutdown_timeout: Duration,
}

/// The time that the runner is ahead of, at most: a handler that it drops leaves its claim to its lease, while one that gives
/// up hands its message back.
const AHEAD: Duration = Duration::from_millis(500);

impl Deliver {
    pub(crate) fn takes_batches(&self) -> bool {
        self.sink.takes_batches()
    }

    async fn all(&self, items: Vec<Item<RelayMessage>>) -> Vec<Answer> {
        let count = items.len();
        let delivery = self.sink.deliver_all(items);
        let is_away = |answers: &Vec<Answer>| {
            !answers.is_empty() && answers.iter().all(|answer| answer.as_ref().is_err_and(is_away))
        };
        let delivered = self.in_time(self.presence.deliver(delivery, is_away, &self.shutdown)).await;
        let answers = match delivered {
            Ok(answers) => answers,
            Err(failure) => {
                let reason = failure.to_string();
                (0..count).map(|_| Err(Failure::infrastructure(reason.clone()))).collect()
            }
        };
        self.look_at_sink();
        answers.into_iter().map(|answer| answer.map_err(|failure| self.kept(failure))).collect()
    }

    async fn one(&self, item: Item<RelayMessage>) -> Answer {
        let delivery = self.sink.deliver(&item.cx, &item.message);
        let is_away = |answer: &Result<(), Failure>| answer.as_ref().is_err_and(is_away);
        let answer = self.in_time(self.presence.deliver(delivery, is_away, &self.shutdown)).await;
        self.look_at_sink();
        answer.flatten().map(Effect::from).map_err(|failure| self.kept(failure))
    }

    /// The delivery's answer; or a failure that hands the message back, if the relay has to end before there is one. As after
    /// `--timeout`, the effect may have happened, and the next delivery has the same idempotency key.
    async fn in_time<T>(&self, delivery: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let too_late = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(self.shutdown_timeout - AHEAD.min(self.shutdown_timeout / 4)).await;
        };
        tokio::select! {
            biased;
            answer = delivery => answer,
            () = too_late => Err(Failure::infrastructure("the relay ended before the sink answered")),
        }
    }

    fn look_at_sink(&self) {
        if self.sink.gone().is_some() {
            self.shutdown.cancel();
        }
    }

    /// Without a dead-letter place a refusal is a failure like others: a sink with a wrong path would have every payload
    /// given up.
    fn kept(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Permanent(reason) if !self.buries => Failure::Retry(reason),
            failure => failure,
        }
    }
}

/// True if the failure is the sink's, and other messages would meet it, too.
fn is_away(failure: &Failure) -> bool {
    matches!(failure, Failure::Infrastructure(_))
}

macro_rules! handles {
    ($($message:ty => $source:ident),*) => {$(
        #[async_trait]
        impl Handler<$message> for Deliver {
            fn class(&self) -> Class {
                self.class
            }

            async fn handle(&self, items: Vec<Item<$message>>) -> Vec<Answer> {
                let each = items.into_iter();
                self.all(each.map(|Item { cx, message }| Item { cx, message: RelayMessage::$source(message) }).collect()).await
            }

            async fn handle_one(&self, Item { cx, message }: Item<$message>) -> Answer {
                self.one(Item { cx, message: RelayMessage::$source(message) }).await
            }
        }
    )*};
}
handles!(ackonce_kafka::KafkaMessage => Kafka, ackonce_amqp::AmqpMessage => Amqp, Event => Webhook);
