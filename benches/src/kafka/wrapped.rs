//! The same topic through Ackonce.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{CancellationToken, Counts, Deduplicator, Handler, Scope, Settings};
use ackonce_kafka::{KafkaConsumer, KafkaMessage, Order};
use ackonce_postgres::InboxSettings;
use anyhow::ensure;
use tokio::runtime::Runtime;

use super::topic::Topic;
use crate::handlers::{self, Watch, Watched};
use crate::harness::Round;
use crate::stores::Inbox;

#[derive(Clone)]
pub(super) struct Wrapped<'a> {
    pub(super) topic: &'a Topic,
    pub(super) runtime: &'a Runtime,
    pub(super) store: Arc<dyn Deduplicator>,
    pub(super) work: Duration,
}

impl Wrapped<'_> {
    pub(super) fn each(&self, messages: usize) -> anyhow::Result<Round> {
        let handler = handlers::each(self.work);
        self.consume(messages, handler, |consumer, handler| consumer.run(handler))
    }

    pub(super) fn batches(&self, messages: usize) -> anyhow::Result<Round> {
        let handler = handlers::batches(self.work);
        self.consume(messages, handler, |consumer, handler| consumer.run_batch(handler))
    }

    pub(super) fn at_most_once(&self, messages: usize) -> anyhow::Result<Round> {
        let handler = handlers::at_most_once(self.work);
        self.consume(messages, handler, |consumer, handler| consumer.run_batch(handler))
    }

    pub(super) fn inbox(&self, inbox: &Inbox, messages: usize) -> anyhow::Result<Round> {
        match inbox {
            Inbox::Sqlite(store) => {
                let handler = handlers::sqlite_inbox(store);
                self.consume(messages, handler, |consumer, handler| consumer.run_batch(handler))
            }
            Inbox::Postgres(store) => {
                let handler = handlers::postgres_inbox(store, InboxSettings::default());
                self.consume(messages, handler, |consumer, handler| consumer.run_batch(handler))
            }
        }
    }

    /// Until as many messages have been handled, from the first one on. The settlements of the last few are not
    /// waited for.
    fn consume<H, F>(
        &self,
        messages: usize,
        handler: H,
        run: impl FnOnce(KafkaConsumer, Watched<H>) -> F,
    ) -> anyhow::Result<Round>
    where
        H: Handler<KafkaMessage>,
        F: Future<Output = ackonce::Result<Counts>> + Send + 'static,
    {
        let group = self.topic.group();
        let shutdown = CancellationToken::new();
        let watch = Arc::new(Watch::default());
        let watched = Watched { handler, watch: watch.clone() };
        self.runtime.block_on(async {
            let scope = Scope::new(group.clone())?;
            let topics = [self.topic.name.as_str()];
            let consumer = KafkaConsumer::new(self.topic.config(&group), &topics, &scope, self.store.clone())
                .with_settings(Settings::default().with_chunk(1000))
                .with_order(Order::Unordered)
                .with_shutdown(shutdown.clone());
            let running = tokio::spawn(run(consumer, watched));
            while watch.handled() < messages && !running.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let round = Round::of(messages, watch.began.get().copied());
            shutdown.cancel();
            let counts = running.await??;
            ensure!(counts.duplicate == 0 && counts.buried == 0, "not all messages were new: {counts:?}");
            Ok(round)
        })
    }
}
