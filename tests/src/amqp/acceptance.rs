//! RabbitMQ in an acceptance run: its queues, and the strikes against them.

use std::time::Duration;

use super::{Kind, Rabbit};
use crate::acceptance::{Broker, Place};

/// The time limit for one attempt to publish before the connection is given up.
const PUBLISH: Duration = Duration::from_secs(20);

/// Queues of one type on a broker that has outages.
#[derive(Debug)]
pub struct Queues(pub Rabbit, pub Kind);

impl Broker for Queues {
    fn place(&self) -> Place {
        Place::Amqp(self.0.url().to_owned())
    }

    async fn create(&self, stem: &str) -> String {
        self.0.queue(stem, self.1).await
    }

    async fn publish(&self, queue: &str, ids: &[String]) {
        let mut open: Vec<_> = ids.iter().map(|id| (id.as_str(), "{}")).collect();
        while !open.is_empty() {
            let attempt = async {
                let admin = self.0.try_connect().await?;
                admin.publish_some(queue, &mut open).await
            };
            // Away: messages that it did not confirm are published again, as a producer of yours would.
            if !matches!(tokio::time::timeout(PUBLISH, attempt).await, Ok(Ok(()))) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn is_through(&self, queue: &str, _: usize) -> bool {
        // Its numbers may be from before the last message.
        let mut says = Some((0, 0));
        for wait in [Duration::ZERO, Rabbit::STALE] {
            tokio::time::sleep(wait).await;
            says = says.and(self.0.messages(queue).await).filter(|says| *says == (0, 0));
        }
        says.is_some()
    }

    /// All connections are closed, twice; then the broker is killed and comes back; and so on.
    async fn outage(&self, n: usize) {
        let rabbit = self.0.clone();
        let outage = move || match n % 3 {
            2 => {
                rabbit.control("kill");
                rabbit.control("start");
            }
            _ => drop(rabbit.ctl(&["close_all_connections", "an outage"])),
        };
        tokio::task::spawn_blocking(outage).await.unwrap();
    }
}
