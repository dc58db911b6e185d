//! The same topic through Ackonce.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ackonce::{
    Answer, Batch, CancellationToken, Context, Counts, Deduplicator, Effect, Failure, Handler, Item, Keyed,
    Scope, Settings,
};
use ackonce_kafka::{KafkaConsumer, Message, Order};
use ackonce_sqlite::{InboxTx, SqliteStore};
use anyhow::ensure;
use async_trait::async_trait;
use tokio::runtime::Runtime;

use super::topic::Topic;
use crate::harness::Round;

#[derive(Clone)]
pub(super) struct Wrapped<'a> {
    pub(super) topic: &'a Topic,
    pub(super) runtime: &'a Runtime,
    pub(super) store: Arc<dyn Deduplicator>,
    pub(super) work: Duration,
}

/// A handler that tells when its first message came and how many have been handled.
struct Watched<H> {
    handler: H,
    began: Arc<OnceLock<Instant>>,
    handled: Arc<AtomicUsize>,
}

#[async_trait]
impl<H: Handler<Message>> Handler<Message> for Watched<H> {
    fn class(&self) -> ackonce::Class {
        self.handler.class()
    }

    async fn handle(&self, items: Vec<Item<Message>>) -> Vec<Answer> {
        self.began.get_or_init(Instant::now);
        let count = items.len();
        let answers = self.handler.handle(items).await;
        self.handled.fetch_add(count, Ordering::Relaxed);
        answers
    }
}

impl Wrapped<'_> {
    pub(super) fn each(&self, messages: usize) -> anyhow::Result<Round> {
        let work = self.work;
        let handler = Keyed(move |_: Context, _: Message| async move {
            if !work.is_zero() {
                tokio::time::sleep(work).await;
            }
            Ok::<(), Failure>(())
        });
        self.consume(messages, handler, |consumer, handler| consumer.run(handler))
    }

    pub(super) fn batches(&self, messages: usize) -> anyhow::Result<Round> {
        let work = self.work;
        let handler = Keyed(Batch(move |items: Vec<Item<Message>>| async move {
            if !work.is_zero() {
                tokio::time::sleep(work).await;
            }
            items.iter().map(|_| Ok(Effect::from(()))).collect()
        }));
        self.consume(messages, handler, |consumer, handler| consumer.run_batch(handler))
    }

    pub(super) fn inbox(&self, store: &SqliteStore, messages: usize) -> anyhow::Result<Round> {
        let handler = store.inbox(|tx: &InboxTx<'_>, cx: &Context, _: &Message| {
            tx.prepare("INSERT INTO effect VALUES (?1, 1)")?.execute([&cx.key().id()[..]])?;
            Ok::<(), Failure>(())
        });
        self.consume(messages, handler, |consumer, handler| consumer.run_batch(handler))
    }

    /// Until as many messages have been handled; the time is that from the first one to the last settlement.
    fn consume<H, F>(
        &self,
        messages: usize,
        handler: H,
        run: impl FnOnce(KafkaConsumer, Watched<H>) -> F,
    ) -> anyhow::Result<Round>
    where
        H: Handler<Message>,
        F: Future<Output = ackonce::Result<Counts>> + Send + 'static,
    {
        let group = self.topic.group();
        let shutdown = CancellationToken::new();
        let (began, handled) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
        let watched = Watched { handler, began: began.clone(), handled: handled.clone() };
        self.runtime.block_on(async {
            let scope = Scope::new(group.clone())?;
            let topics = [self.topic.name.as_str()];
            let consumer = KafkaConsumer::new(self.topic.config(&group), &topics, &scope, self.store.clone())
                .with_settings(Settings::default().with_chunk(1000))
                .with_order(Order::Unordered)
                .with_shutdown(shutdown.clone());
            let running = tokio::spawn(run(consumer, watched));
            while handled.load(Ordering::Relaxed) < messages && !running.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let round = Round::of(messages, began.get().copied());
            shutdown.cancel();
            let counts = running.await??;
            ensure!(counts.duplicate == 0 && counts.buried == 0, "not all messages were new: {counts:?}");
            Ok(round)
        })
    }
}
