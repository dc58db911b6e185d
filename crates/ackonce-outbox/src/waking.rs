//! An inbox that tells the relay of its commits.

use ackonce::{Answer, Class, Handler, Item};
use async_trait::async_trait;

use crate::Outbox;

/// A handler that publishes, wrapped so that the relay is told after its commits. Made by [`Outbox::waking`].
#[derive(Debug, Clone)]
pub struct Waking<H> {
    pub(crate) handler: H,
    pub(crate) outbox: Outbox,
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

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let answers = self.handler.handle(items).await;
        self.outbox.wake();
        answers
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        let answer = self.handler.handle_one(item).await;
        self.outbox.wake();
        answer
    }
}
