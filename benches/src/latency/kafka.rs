//! From a producer's send to the handler, and on to the commit or the record. Each arm has a topic of its own, and they
//! take turns message by message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::store::{ClaimRequest, Claimed, Description, Settle, Settled, Settlement};
use ackonce::{CancellationToken, Context, Deduplicator, Failure, Scope};
use ackonce_kafka::{KafkaConsumer, KafkaMessage};
use anyhow::Context as _;
use async_trait::async_trait;
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::{Options, PACE, Times};
use crate::kafka::topic::{BODY, Topic};
use crate::messages::id;
use crate::processed::Processed;
use crate::stores::Place;

/// When something happened to the message that is under way.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Handled(Instant),
    Done(Instant),
}

/// A consumer with its topic and its observations.
struct Arm {
    name: String,
    topic: Topic,
    seen: mpsc::UnboundedReceiver<Seen>,
    times: Times,
}

type Tell = mpsc::UnboundedSender<Seen>;

/// The time limit for one message before the measurement is given up.
const LOST: Duration = Duration::from_secs(60);
/// Messages of each arm that are not counted: the groups gather meanwhile, and pages are touched for the first time.
const WARM_UP: usize = 50;

pub(super) fn measure(runtime: &Runtime, options: &Options) -> anyhow::Result<Vec<(String, Times)>> {
    let _runtime = runtime.enter();
    let (_directory, places) = options.stores.open(runtime)?;
    let shutdown = CancellationToken::new();
    let _shutdown = shutdown.clone().drop_guard();
    let mut arms = Vec::new();
    let mut start = |name: &str, consumer: &mut dyn FnMut(&Topic, Tell) -> anyhow::Result<()>| {
        let topic = Topic::fill(options.brokers.as_deref(), 0)?;
        let (tell, seen) = mpsc::unbounded_channel();
        consumer(&topic, tell)?;
        arms.push(Arm { name: name.to_owned(), topic, seen, times: Times::default() });
        anyhow::Ok(())
    };
    start("bare: commit each", &mut |topic, tell| by_hand(topic, None, tell))?;
    for Place { name, store, by_hand: mut processed, .. } in places {
        if processed.is_some() {
            start(&format!("by hand, {name}"), &mut |topic, tell| by_hand(topic, processed.take(), tell))?;
        }
        start(&format!("ackonce, {name}"), &mut |topic, tell| {
            wrapped(topic, store.clone(), tell, shutdown.clone())
        })?;
    }
    runtime.block_on(send(&mut arms, options.messages))?;
    Ok(arms.into_iter().map(|arm| (arm.name, arm.times)).collect())
}

/// Sends messages, each when that before it is done.
async fn send(arms: &mut [Arm], messages: usize) -> anyhow::Result<()> {
    let producers = arms.iter().map(|arm| arm.topic.config("producer").set("linger.ms", "0").create());
    let producers: Vec<FutureProducer> = producers.collect::<Result<_, _>>()?;
    let mut turn = interval(PACE / u32::try_from(arms.len())?);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..WARM_UP + messages {
        if n % 1000 == 0 {
            eprintln!("Kafka: {n} of {messages} messages");
        }
        for (arm, producer) in arms.iter_mut().zip(&producers) {
            turn.tick().await;
            let id = id(n as u64);
            let headers = OwnedHeaders::new().insert(Header { key: "message-id", value: Some(&id) });
            let sent = Instant::now();
            let record = FutureRecord::to(&arm.topic.name).key(&id).payload(&BODY).headers(headers);
            let _delivered = producer.send_result(record).map_err(|(error, _)| error)?;
            let (handled, done) = tokio::time::timeout(LOST, arm.outcome()).await??;
            if n >= WARM_UP {
                arm.times.add(handled - sent, done - handled);
            }
        }
    }
    Ok(())
}

impl Arm {
    async fn outcome(&mut self) -> anyhow::Result<(Instant, Instant)> {
        let mut handled = None;
        loop {
            match (self.seen.recv().await.context("the consumer has ended")?, handled) {
                (Seen::Handled(at), _) => handled = Some(at),
                (Seen::Done(done), Some(handled)) => return Ok((handled, done)),
                (Seen::Done(_), None) => {}
            }
        }
    }
}

/// Without Ackonce: a message is done once it is committed.
fn by_hand(topic: &Topic, mut processed: Option<Processed>, tell: Tell) -> anyhow::Result<()> {
    let mut config = topic.config(&topic.group());
    let consumer: StreamConsumer = config.set("enable.auto.commit", "false").create()?;
    consumer.subscribe(&[&topic.name])?;
    tokio::spawn(async move {
        while let Ok(message) = consumer.recv().await {
            let id = message.key().map(String::from_utf8_lossy).unwrap_or_default();
            if let Some(processed) = &mut processed {
                processed.claim(&id).await?;
            }
            tell.send(Seen::Handled(Instant::now()))?;
            if let Some(processed) = &mut processed {
                processed.done(&id).await?;
            }
            consumer.commit_message(&message, CommitMode::Sync)?;
            tell.send(Seen::Done(Instant::now()))?;
        }
        anyhow::Ok(())
    });
    Ok(())
}

/// Through Ackonce: a message is done once it is recorded. Its commit follows later, and nothing waits for it.
fn wrapped(
    topic: &Topic,
    store: Arc<dyn Deduplicator>,
    tell: Tell,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let group = topic.group();
    let scope = Scope::new(group.clone())?;
    let store = Arc::new(Watched { store, tell: tell.clone() });
    let consumer = KafkaConsumer::new(topic.config(&group), &[&topic.name], &scope, store);
    tokio::spawn(consumer.with_shutdown(shutdown).run(move |_: Context, _: KafkaMessage| {
        // Nobody listens any more once the measurement is over.
        let _ = tell.send(Seen::Handled(Instant::now()));
        async { Ok::<(), Failure>(()) }
    }));
    Ok(())
}

/// A store that tells when it has recorded something.
#[derive(Debug)]
struct Watched {
    store: Arc<dyn Deduplicator>,
    tell: Tell,
}

#[async_trait]
impl Deduplicator for Watched {
    async fn claim(&self, requests: &[ClaimRequest]) -> ackonce::Result<Vec<Claimed>> {
        self.store.claim(requests).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> ackonce::Result<Vec<Settled>> {
        let settled = self.store.settle(settlements).await?;
        if settlements.iter().any(|s| matches!(s.action, Settle::Complete { .. })) {
            let _ = self.tell.send(Seen::Done(Instant::now()));
        }
        Ok(settled)
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}
