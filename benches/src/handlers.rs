//! Handlers that do next to nothing, and tell how far they are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ackonce::{Answer, AtMostOnce, Batch, Class, Context, Effect, Failure, Handler, Item, Keyed};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_postgres::tokio_postgres::types::Type;
use ackonce_postgres::{InboxSettings, PostgresStore};
use ackonce_sqlite::{InboxTx, SqliteStore};
use async_trait::async_trait;

/// When the first message came and how many have been handled.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) began: OnceLock<Instant>,
    handled: AtomicUsize,
}

impl Watch {
    pub(crate) fn handled(&self) -> usize {
        self.handled.load(Ordering::Relaxed)
    }
}

/// A handler that is watched.
pub(crate) struct Watched<H> {
    pub(crate) handler: H,
    pub(crate) watch: Arc<Watch>,
}

#[async_trait]
impl<M: Send + 'static, H: Handler<M>> Handler<M> for Watched<H> {
    fn class(&self) -> Class {
        self.handler.class()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        self.watch.began.get_or_init(Instant::now);
        let count = items.len();
        let answers = self.handler.handle(items).await;
        self.watch.handled.fetch_add(count, Ordering::Relaxed);
        answers
    }
}

/// Works that long on each message.
pub(crate) fn each<M: Send + 'static>(work: Duration) -> impl Handler<M> {
    Keyed(move |_: Context, _: M| async move {
        if !work.is_zero() {
            tokio::time::sleep(work).await;
        }
        Ok::<(), Failure>(())
    })
}

/// Works that long on each batch.
pub(crate) fn batches<M: Send + Sync + 'static>(work: Duration) -> impl Handler<M> {
    Keyed(batch(work))
}

/// The same, recorded before it is run.
pub(crate) fn at_most_once<M: Send + Sync + 'static>(work: Duration) -> impl Handler<M> {
    AtMostOnce(batch(work))
}

fn batch<M: Send + Sync + 'static>(work: Duration) -> impl Handler<M> {
    Batch(move |items: Vec<Item<M>>| async move {
        if !work.is_zero() {
            tokio::time::sleep(work).await;
        }
        items.iter().map(|_| Ok(Effect::from(()))).collect()
    })
}

/// The effect is one insert, committed with the record.
pub(crate) fn sqlite_inbox<M: Send + Sync + 'static>(store: &SqliteStore) -> impl Handler<M> {
    store.inbox(|tx: &InboxTx<'_>, cx: &Context, _: &M| {
        tx.prepare("INSERT INTO effect VALUES (?1, 1)")?.execute([&cx.key().id()[..]])?;
        Ok::<(), Failure>(())
    })
}

/// The effect is one insert, committed with the record.
pub(crate) fn postgres_inbox<M: Send + 'static>(
    store: &PostgresStore,
    settings: InboxSettings,
) -> impl Handler<M> + use<M> {
    let inbox = store.inbox(|tx: &Transaction<'_>, cx: Context, _: M| {
        Box::pin(async move {
            let id = &cx.key().id()[..];
            tx.execute_typed("INSERT INTO ackonce_bench_effect VALUES ($1, 1)", &[(&id, Type::BYTEA)])
                .await?;
            Ok::<(), Failure>(())
        })
    });
    inbox.with_settings(settings)
}
