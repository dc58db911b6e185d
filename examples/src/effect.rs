//! The effect of the examples: a line in a file, or a row in the store's database, that can be counted.

use std::fmt;
use std::sync::Arc;

use ackonce::{Answer, Class, Context, Failure, Handler, Item, Keyed};
use ackonce_cli::ledger::{self, Table};
use ackonce_cli::stores::Opened;
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_sqlite::InboxTx;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures_util::future::join_all;

use crate::trouble::Trouble;
use crate::{Flags, HandlerClass};

/// The handler that the flags ask for, for any messages.
///
/// # Errors
/// The file of `--ledger` cannot be opened, or the table `ledger` cannot be made.
pub async fn handler<M>(flags: &Flags, store: &Opened) -> Result<Effect<M>>
where
    M: Send + Sync + 'static,
{
    Ok(match flags.class {
        HandlerClass::Leased => Effect::new(to_file(flags)?),
        HandlerClass::Keyed => Effect::new(Keyed(to_file(flags)?)),
        HandlerClass::Inbox => to_table(flags, store).await?,
    })
}

/// An effect outside of the store: a line appended to a file. It carries the idempotency key, as a request to a
/// payment API would.
fn to_file<M: Send + 'static>(flags: &Flags) -> Result<impl Handler<M> + use<M>> {
    let file = Ledger::open(&flags.ledger).with_context(|| format!("--ledger {}", flags.ledger.display()))?;
    let (file, trouble) = (Arc::new(file), Trouble::of(flags));
    Ok(move |cx: Context, _: M| {
        let (file, trouble) = (file.clone(), trouble.clone());
        async move {
            trouble.wait(&cx).await;
            trouble.strike(&cx)?;
            file.append(&LedgerEntry::now(&cx, "effect"))?;
            Ok::<(), Failure>(())
        }
    })
}

/// An effect in the store's own database: a row of its table `ledger`, in the transaction that records the message.
async fn to_table<M: Send + Sync + 'static>(flags: &Flags, store: &Opened) -> Result<Effect<M>> {
    let table = Table::of(&flags.store, store).ok_or_else(|| flags.no_inbox())?;
    table.create().await.with_context(|| format!("making the table `ledger` in --store {}", flags.store))?;
    let trouble = Trouble::of(flags);
    let waiting = trouble.clone();
    Ok(match store {
        Opened::Sqlite(store) => {
            let inbox = store.inbox(move |tx: &InboxTx<'_>, cx: &Context, _: &M| {
                trouble.strike(cx)?;
                ledger::sqlite::insert(tx, &LedgerEntry::now(cx, "effect"))?;
                Ok::<(), Failure>(())
            });
            Effect::new(Waiting { handler: inbox, trouble: waiting })
        }
        Opened::Postgres(store) => {
            let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, _: M| {
                let trouble = trouble.clone();
                Box::pin(async move {
                    trouble.strike(&cx)?;
                    ledger::postgres::insert(tx, &LedgerEntry::now(&cx, "effect")).await?;
                    Ok::<(), Failure>(())
                })
            });
            Effect::new(Waiting { handler: inbox, trouble: waiting })
        }
        _ => return Err(flags.no_inbox().into()),
    })
}

/// A handler of the class that the flags chose.
pub struct Effect<M>(Box<dyn Handler<M>>);

impl<M: 'static> Effect<M> {
    fn new(handler: impl Handler<M>) -> Self {
        Self(Box::new(handler))
    }
}

impl<M: 'static> fmt::Debug for Effect<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effect({})", self.0.class())
    }
}

#[async_trait]
impl<M: Send + 'static> Handler<M> for Effect<M> {
    fn class(&self) -> Class {
        self.0.class()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        self.0.handle(items).await
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        self.0.handle_one(item).await
    }
}

/// An inbox's handler that takes its time before the transaction.
struct Waiting<H> {
    handler: H,
    trouble: Trouble,
}

#[async_trait]
impl<M: Send + 'static, H: Handler<M>> Handler<M> for Waiting<H> {
    fn class(&self) -> Class {
        self.handler.class()
    }

    /// Each for itself, so that one that hangs holds up no other.
    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        join_all(items.into_iter().map(|item| self.handle_one(item))).await
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        self.trouble.wait(&item.cx).await;
        self.handler.handle_one(item).await
    }
}
