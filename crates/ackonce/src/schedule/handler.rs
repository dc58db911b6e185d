//! Under the claim, before the handler: a slot whose record may have been forgotten does not run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::claim::Previous;
use crate::class::Class;
use crate::context::Context;
use crate::failure::Failure;
use crate::handler::{Answer, Handler, Item};
use crate::ticket::Delivery;

use super::slot::{Slot, Utc};

/// A slot on its way to the handler.
impl Delivery for Slot {
    type Message = Self;

    fn message(&self) -> Self {
        *self
    }

    fn place(&self) -> String {
        Utc(self.start).to_string()
    }
}

/// The store's clock when it granted a claim of a key that nobody had claimed before.
pub(super) fn store_time(fence: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_micros(fence)).unwrap_or(UNIX_EPOCH)
}

/// The user's handler, for slots whose records can be trusted.
#[derive(Debug)]
pub(super) struct SlotHandler<H> {
    pub(super) handler: H,
    /// The time that a record lives.
    pub(super) window: Duration,
}

impl<H> SlotHandler<H> {
    /// A claim may come long after the slot was found due: the store was away, or this process was suspended.
    fn check(&self, cx: &Context, slot: &Slot) -> Result<(), Failure> {
        let is_first = cx.attempt() == 1 && cx.previous() == Previous::None;
        let age = store_time(cx.fence()).duration_since(slot.start).unwrap_or_default();
        match is_first && age > self.window {
            true => {
                Err(Failure::permanent("by the store's clock this slot is older than its record would live"))
            }
            false => Ok(()),
        }
    }
}

#[async_trait]
impl<H: Handler<Slot>> Handler<Slot> for SlotHandler<H> {
    fn class(&self) -> Class {
        self.handler.class()
    }

    fn refusal(&self) -> Option<String> {
        self.handler.refusal()
    }

    /// Slots are run one by one, each under a claim of its own.
    async fn handle(&self, items: Vec<Item<Slot>>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            answers.push(self.handle_one(item).await);
        }
        answers
    }

    async fn handle_one(&self, item: Item<Slot>) -> Answer {
        self.check(&item.cx, &item.message)?;
        self.handler.handle_one(item).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing;

    #[async_trait]
    impl Handler<Slot> for Refusing {
        fn class(&self) -> Class {
            Class::Leased
        }

        fn refusal(&self) -> Option<String> {
            Some("its settings cannot be honoured".to_owned())
        }

        async fn handle(&self, _: Vec<Item<Slot>>) -> Vec<Answer> {
            Vec::new()
        }
    }

    #[test]
    fn a_handler_that_is_refused_is_refused_as_a_job_as_well() {
        assert!(SlotHandler { handler: Refusing, window: Duration::MAX }.refusal().is_some());
    }
}
