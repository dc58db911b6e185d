//! An inbox that tells the relay of its commits.

use std::sync::Arc;

use ackonce::{Answer, Class, Handler, Item};
use async_trait::async_trait;

use crate::table::OutboxTable;

/// A handler that publishes, wrapped so that the relay is told after its commits. Made by
/// [`Outbox::waking`](crate::Outbox::waking).
#[derive(Debug, Clone)]
pub struct Waking<H> {
    pub(crate) handler: H,
    pub(crate) table: Arc<dyn OutboxTable>,
}

#[async_trait]
impl<M, H> Handler<M> for Waking<H>
where
    M: Send + 'static,
    H: Handler<M>,
{
    fn class(&self) -> Class {
        self.handler.class()
    }

    fn refusal(&self) -> Option<String> {
        self.handler.refusal()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let answers = self.handler.handle(items).await;
        self.table.wake();
        answers
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        let answer = self.handler.handle_one(item).await;
        self.table.wake();
        answer
    }
}
