//! A quorum queue.

use std::sync::Arc;
use std::time::Duration;

use ackonce_tests::acceptance::Broker as _;
use ackonce_tests::amqp::{Kind, Queues, Rabbit};
use anyhow::{Context as _, Result};

use super::Published;
use crate::plan::Place;

#[derive(Clone)]
pub(crate) struct Queue {
    queues: Arc<Queues>,
    name: String,
}

impl Queue {
    pub(super) async fn create() -> Result<Self> {
        let rabbit = Rabbit::real().context(
            "--broker rabbitmq: ACKONCE_TEST_AMQP is not set; run it by scripts/servers run rabbitmq -- …",
        )?;
        let queues = Queues(rabbit, Kind::Quorum);
        let name = queues.create("prove").await;
        Ok(Self { queues: Arc::new(queues), name })
    }

    pub(super) fn place(&self) -> Place {
        Place::Rabbitmq { url: self.queues.0.url().to_owned(), queue: self.name.clone() }
    }

    pub(super) async fn recreate(&self) -> Result<()> {
        let Queues(rabbit, kind) = &*self.queues;
        let admin = rabbit.try_connect().await?;
        admin.delete(&self.name).await;
        admin.declare(&self.name, *kind, &[]).await;
        Ok(())
    }

    pub(super) async fn publish(&self, ids: Vec<String>) -> Vec<Published> {
        self.queues.publish(&self.name, &ids).await;
        ids.into_iter().map(|id| Published { id, at: None }).collect()
    }

    /// Messages in the queue, delivered ones included. Its numbers may be from before the last message, so an empty queue
    /// is asked again.
    pub(super) async fn left(&self) -> Option<usize> {
        let rabbit = &self.queues.0;
        let mut left = rabbit.messages(&self.name).await?.0;
        for wait in [Rabbit::STALE, Duration::ZERO] {
            if left == 0 {
                tokio::time::sleep(wait).await;
                left = rabbit.messages(&self.name).await?.0;
            }
        }
        usize::try_from(left).ok()
    }
}
