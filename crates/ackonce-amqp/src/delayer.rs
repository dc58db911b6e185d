//! Sends messages that were handed back to their delay queues. Each queue has a line of its own, so that one that is
//! gone stops no other; a message that none of them takes waits in hand and is run again.

use std::sync::Arc;
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce::adapter::Ordered;
use lapin::types::{AMQPValue, ShortString};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::channel::{ChannelDelivery, HandedBack};
use crate::delays::{Delays, name};
use crate::intake::QueueIntake;
use crate::log::Outage;
use crate::message::text;
use crate::publisher::{AmqpRefusal, Payload, Post, Publisher, Purpose, Upstream, copied, origin, reason};
use crate::{AmqpMetrics, headers};

/// The time limit for declaring a queue.
const DECLARE: Duration = Duration::from_secs(30);

/// One delay queue.
struct Line {
    wait: Duration,
    queue: ShortString,
    publisher: Publisher,
    outage: Outage,
}

pub(crate) struct Delayer {
    delays: Delays,
    /// The queue consumed from.
    queue: ShortString,
    lines: Vec<Line>,
    upstream: Arc<Upstream>,
    /// The longest wait in hand.
    in_hand: Duration,
    intake: Arc<QueueIntake>,
    /// To the runner, for as long as it takes more.
    again: mpsc::WeakSender<Vec<Ordered<ChannelDelivery>>>,
    metrics: AmqpMetrics,
}

impl Delayer {
    pub(crate) fn new(
        delays: Delays,
        upstream: Arc<Upstream>,
        in_hand: Duration,
        intake: Arc<QueueIntake>,
        again: mpsc::WeakSender<Vec<Ordered<ChannelDelivery>>>,
        metrics: AmqpMetrics,
    ) -> Self {
        let queue = intake.queue.clone();
        // Names that are too long were refused at start.
        let named = delays.waits.iter().filter_map(|wait| Some((*wait, name(&queue, *wait).ok()?)));
        let line = |(wait, queue)| {
            let publisher = Publisher::start(upstream.clone());
            Line { wait, queue, publisher, outage: Outage::default() }
        };
        let lines = named.map(line).collect();
        Self { delays, queue, lines, upstream, in_hand, intake, again, metrics }
    }

    /// Until `handed_back` closes or `stop`. After that nothing more is sent: the rest goes back with its channel.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut handed_back: mpsc::UnboundedReceiver<HandedBack>,
        stop: CancellationToken,
    ) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = under_way.join_next() => {}
                one = handed_back.recv() => match one {
                    Some(one) => drop(under_way.spawn(self.clone().delay(one, stop.clone()))),
                    None => break,
                },
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn delay(self: Arc<Self>, one: HandedBack, stop: CancellationToken) {
        one.delivery.delaying();
        let hop = one.delivery.message().hops();
        for line in self.order(hop) {
            match self.send(line, &one, hop).await {
                Ok(()) => {
                    // The copy is in its queue. Should the ack get lost, both come, and are one message.
                    self.metrics.delayed(1);
                    return one.delivery.settled();
                }
                // The same for all queues.
                Err(AmqpRefusal::Away(_) | AmqpRefusal::TooLong { .. } | AmqpRefusal::Message(_)) => break,
                Err(AmqpRefusal::Nowhere(_) | AmqpRefusal::Full | AmqpRefusal::Slow) => {}
            }
        }
        let wait = self.wait(hop).min(self.in_hand);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => self.run_again(one.delivery).await,
        }
    }

    /// The line of this hop, then the longer ones, then the shorter ones.
    fn order(&self, hop: u32) -> impl Iterator<Item = &Line> {
        let at = usize::try_from(hop).unwrap_or(usize::MAX).min(self.lines.len().saturating_sub(1));
        let (shorter, longer) = self.lines.split_at(at);
        longer.iter().chain(shorter.iter().rev())
    }

    fn wait(&self, hop: u32) -> Duration {
        self.order(hop).next().map_or(Duration::ZERO, |line| line.wait)
    }

    async fn send(&self, line: &Line, one: &HandedBack, hop: u32) -> Result<(), AmqpRefusal> {
        let mut answer = line.publisher.publish(self.post(line, one, hop)).await;
        if matches!(answer, Err(AmqpRefusal::Nowhere(_))) && self.delays.create && self.declare(line).await {
            answer = line.publisher.publish(self.post(line, one, hop)).await;
        }
        match &answer {
            Ok(()) => {
                if let Some(away) = line.outage.over() {
                    tracing::warn!(target: "ackonce", scope = self.metrics.scope(), queue = %line.queue, away_ms = away.as_millis(),
                        "the delay queue takes messages again");
                }
            }
            Err(why) => {
                if let Some(failures) = line.outage.failed() {
                    tracing::warn!(target: "ackonce", scope = self.metrics.scope(), queue = %line.queue, %why, failures,
                        delivery_tag = one.delivery.tag(), "a delay queue does not take a message; another one does, \
                        or the message waits in hand");
                }
            }
        }
        answer
    }

    async fn declare(&self, line: &Line) -> bool {
        let declaring = async {
            let open = self.upstream.channel().await.ok()?;
            let declared = self.delays.declare_one(&open.channel, &self.queue, line.wait).await.ok();
            let _ = open.channel.close(200, "OK".into()).await;
            declared
        };
        let declared = matches!(tokio::time::timeout(DECLARE, declaring).await, Ok(Some(())));
        if declared {
            tracing::warn!(target: "ackonce", scope = self.metrics.scope(), queue = %line.queue,
                "the delay queue was gone, with all that waited in it; it is declared again");
        }
        declared
    }

    fn post(&self, line: &Line, one: &HandedBack, hop: u32) -> Post {
        let message = one.delivery.message();
        let mut extra = origin(message, &self.queue);
        extra.extend([
            (headers::DELAYED_EXCHANGE, text(message.exchange())),
            (headers::DELAYED_ROUTING_KEY, text(message.routing_key())),
            (headers::DELAYS, AMQPValue::LongLongInt(i64::from(hop) + 1)),
            (headers::ERROR, reason(&one.reason)),
        ]);
        if let Some(attempt) = one.attempt {
            extra.push((headers::ATTEMPTS, AMQPValue::LongLongInt(attempt.into())));
        }
        Post {
            exchange: ShortString::default(),
            routing_key: line.queue.clone(),
            properties: copied(message, Purpose::Delay, extra),
            payload: Payload::Of(message.clone()),
        }
    }

    /// Claims it again, as if it had just been delivered; near the consumer time-out it is given back instead.
    async fn run_again(&self, delivery: ChannelDelivery) {
        if delivery.is_aged() {
            return delivery.give_back("no delay queue takes it");
        }
        if let (Some(runner), Ok(job)) = (self.again.upgrade(), self.intake.admit(delivery)) {
            // If the runner takes no more it goes back with its channel.
            let _ = runner.send(vec![job]).await;
        }
    }
}
