//! The intake of one channel's deliveries, until there are no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::adapter::Ordered;
use ackonce::{CancellationToken, Error};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::BasicCancelOptions;
use lapin::protocol::{AMQPErrorKind, AMQPHardError};
use lapin::types::AMQPValue;
use lapin::{Connection, Consumer};

use super::Chunks;
use crate::channel::{ChannelDelivery, Generation};
use crate::intake::QueueIntake;
use crate::{AmqpHealth, topology};

/// The time limit for writing a cancel. Its answer is not waited for.
const CANCEL: Duration = Duration::from_secs(1);
/// The interval at which a waiting intake looks at its channel.
const LOOK_UP: Duration = Duration::from_secs(1);
/// The time limit for the reason of a lost connection to arrive.
const REASON: Duration = Duration::from_millis(500);
/// The longest that messages in hand may keep a small prefetch to themselves.
const HELD: Duration = Duration::from_secs(10);
/// The header that each delivery of a stream has.
const STREAM_OFFSET: &str = "x-stream-offset";

/// Why a channel gives no more deliveries.
#[derive(Debug)]
pub(crate) enum End {
    Stopped,
    /// By the broker, and the channel stands.
    Cancelled,
    /// As many deliveries as were wanted of it.
    Enough,
    /// After so many deliveries, those in hand have kept the small prefetch to themselves for too long.
    Held(usize),
    Lost(Loss),
    Fatal(Error),
}

/// The cause of a channel's loss.
#[derive(Debug)]
pub(crate) enum Loss {
    /// By a message that the client cannot read.
    Unreadable(String),
    Other(String),
}

impl From<lapin::Error> for Loss {
    fn from(error: lapin::Error) -> Self {
        let unreadable = match error.kind() {
            lapin::ErrorKind::ParsingError(_) => true,
            lapin::ErrorKind::ProtocolError(error) => {
                matches!(error.kind(), AMQPErrorKind::Hard(AMQPHardError::FRAMEERROR))
            }
            _ => false,
        };
        match unreadable {
            true => Self::Unreadable(error.to_string()),
            false => Self::Other(error.to_string()),
        }
    }
}

pub(crate) struct Taking<'a> {
    pub(crate) generation: &'a Arc<Generation>,
    pub(crate) connection: Option<&'a Arc<Connection>>,
    pub(crate) intake: &'a QueueIntake,
    pub(crate) health: &'a AmqpHealth,
    pub(crate) stop: &'a CancellationToken,
    /// The most deliveries handed on together.
    pub(crate) chunk: usize,
    /// The number of deliveries wanted, if not all.
    pub(crate) enough: Option<usize>,
    pub(crate) no_stream: &'a mut bool,
}

impl Taking<'_> {
    /// Hands deliveries on, all that have arrived together at once.
    pub(crate) async fn run(mut self, mut consumer: Consumer, chunks: &Chunks) -> End {
        let (mut taken, mut since) = (0, Instant::now());
        loop {
            self.health.turned();
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.cancel(&consumer, End::Stopped).await,
                () = self.generation.dead.cancelled() => return End::Lost(reason(&mut consumer).await),
                next = consumer.next() => next,
                // Without a delivery nothing else would tell the probe that the session lives.
                () = tokio::time::sleep(LOOK_UP) => {
                    let is_held = self.enough.is_some() && since.elapsed() >= HELD && self.generation.has_open();
                    match is_held {
                        true => return self.cancel(&consumer, End::Held(taken)).await,
                        false => continue,
                    }
                }
            };
            let room = loop {
                tokio::select! {
                    biased;
                    room = chunks.reserve() => break room,
                    () = self.stop.cancelled() => return self.cancel(&consumer, End::Stopped).await,
                    // Deliveries that wait here are worth nothing without their channel, and a new one is opened the sooner.
                    // The look tells the probe that the session lives; lapin has no event for a channel that ended.
                    () = tokio::time::sleep(LOOK_UP) => {
                        self.health.turned();
                        if !self.generation.channel.status().connected() {
                            return End::Lost(reason(&mut consumer).await);
                        }
                    }
                }
            };
            let Ok(room) = room else { return self.cancel(&consumer, End::Stopped).await };
            let (chunk, end) = self.gather(&mut consumer, first);
            if self.is_stream(&chunk).await {
                let error = topology::stream(&self.intake.queue);
                return self.cancel(&consumer, End::Fatal(error)).await;
            }
            (taken, since) = (taken + chunk.len(), Instant::now());
            if !chunk.is_empty() {
                room.send(chunk);
            }
            match end {
                Some(end @ End::Fatal(_)) => return self.cancel(&consumer, end).await,
                Some(end) => return end,
                None if self.enough.is_some_and(|enough| taken >= enough) => {
                    return self.cancel(&consumer, End::Enough).await;
                }
                None => {}
            }
        }
    }

    /// All deliveries that have arrived, as jobs. A delivery that ends the consumer does not keep its neighbours from running.
    fn gather(
        &self,
        consumer: &mut Consumer,
        first: Option<lapin::Result<Delivery>>,
    ) -> (Vec<Ordered<ChannelDelivery>>, Option<End>) {
        let (mut chunk, mut fatal) = (Vec::new(), None);
        let mut next = Some(first);
        while let Some(arrived) = next {
            match self.admit(arrived) {
                Ok(laned) => chunk.push(laned),
                Err(End::Fatal(error)) => fatal = fatal.or(Some(End::Fatal(error))),
                Err(end) => return (chunk, fatal.or(Some(end))),
            }
            let more = chunk.len() < self.chunk;
            next = if more { consumer.next().now_or_never() } else { None };
        }
        (chunk, fatal)
    }

    fn admit(&self, arrived: Option<lapin::Result<Delivery>>) -> Result<Ordered<ChannelDelivery>, End> {
        match arrived {
            Some(Ok(delivery)) => match self.generation.deliver(delivery) {
                Some(delivery) => self.intake.admit(delivery).map_err(End::Fatal),
                None => Err(End::Lost(Loss::Other("the channel is gone".into()))),
            },
            Some(Err(error)) => Err(End::Lost(error.into())),
            // The broker cancels a consumer without an error: its queue was deleted, or its leader moved.
            None if self.generation.channel.status().connected() => Err(End::Cancelled),
            None => Err(End::Lost(Loss::Other("the channel was closed".into()))),
        }
    }

    /// True if these come from a stream. Any publisher may set that header, so the broker is asked, once.
    async fn is_stream(&mut self, chunk: &[Ordered<ChannelDelivery>]) -> bool {
        let says_so = |laned: &Ordered<ChannelDelivery>| {
            let value = laned.job.delivery().message().value(STREAM_OFFSET);
            matches!(value, Some(AMQPValue::LongLongInt(_)))
        };
        if *self.no_stream || !chunk.first().is_some_and(says_so) {
            return false;
        }
        let Some(connection) = self.connection else { return false };
        let is_stream = topology::is_stream(connection, &self.intake.queue).await;
        if is_stream.is_none() {
            tracing::warn!(target: "ackonce", scope = self.intake.scope(), queue = %self.intake.queue, "a message has the header {STREAM_OFFSET}, and \
                the broker does not tell whether the queue is a stream; if it is one, messages that are published while \
                no consumer runs are passed over");
        }
        *self.no_stream = is_stream != Some(true);
        is_stream == Some(true)
    }

    /// Asks for no more deliveries. Those that have arrived unread go back when the channel ends.
    async fn cancel(&self, consumer: &Consumer, end: End) -> End {
        let (channel, scope) = (&self.generation.channel, self.intake.scope());
        // Without an answer: the broker keeps the order, and nothing here depends on when it comes.
        let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions { nowait: true });
        match tokio::time::timeout(CANCEL, cancel).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(target: "ackonce", scope, %error, "the channel was gone before the stop")
            }
            Err(_) => tracing::debug!(target: "ackonce", scope, "a cancel could not be written in time"),
        }
        end
    }
}

/// Why the channel is gone, if its consumer was told.
async fn reason(consumer: &mut Consumer) -> Loss {
    let told = async {
        while let Some(next) = consumer.next().await {
            if let Err(error) = next {
                return Some(error);
            }
        }
        None
    };
    match tokio::time::timeout(REASON, told).await {
        Ok(Some(error)) => error.into(),
        _ => Loss::Other("the channel was closed".into()),
    }
}
