//! The same queue through Ackonce.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{CancellationToken, Counts, Deduplicator, Handler, Scope};
use ackonce_amqp::{AmqpConsumer, AmqpMessage};
use ackonce_postgres::InboxSettings;
use anyhow::ensure;
use tokio::runtime::Runtime;

use super::queue::Queues;
use crate::handlers::{self, Watch, Watched};
use crate::harness::Round;
use crate::stores::Inbox;

#[derive(Clone)]
pub(super) struct Wrapped<'a> {
    pub(super) queues: &'a Queues,
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

    /// From the first message to the ack of the last.
    fn consume<H, F>(
        &self,
        messages: usize,
        handler: H,
        run: impl FnOnce(AmqpConsumer, Watched<H>) -> F,
    ) -> anyhow::Result<Round>
    where
        H: Handler<AmqpMessage>,
        F: Future<Output = ackonce::Result<Counts>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let watch = Arc::new(Watch::default());
        let watched = Watched { handler, watch: watch.clone() };
        self.runtime.block_on(async {
            let queue = self.queues.fill(messages).await?;
            // The queue's name is new, and so are the messages to its scope.
            let scope = Scope::new(queue.name.clone())?;
            let consumer = AmqpConsumer::new(&self.queues.url, &queue.name, &scope, self.store.clone())
                .with_prefetch(self.queues.prefetch)
                .with_shutdown(shutdown.clone());
            let metrics = consumer.metrics();
            let running = tokio::spawn(run(consumer, watched));
            while metrics.counts().acked < messages as u64 && !running.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let round = Round::of(messages, watch.began.get().copied());
            let told = metrics.counts();
            eprintln!("{} messages per ack", told.acked / told.ack_frames.max(1));
            shutdown.cancel();
            let counts = running.await??;
            ensure!(watch.handled() == messages, "not all messages were new: {counts:?}");
            queue.delete().await?;
            Ok(round)
        })
    }
}
