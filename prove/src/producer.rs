//! The producer: keeps a backlog, and makes the faults of queue and topic, after which it sends again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce_tests::acceptance::id_of_delivery;
use anyhow::Result;
use tokio::sync::mpsc;

use crate::broker::{Published, Source};
use crate::chaos::Chaos;
use crate::logs::micros_now;
use crate::messages::number;
use crate::nemesis::{FaultKind, Order};

/// Deliveries that are published at once.
const SLICE: usize = 50;
/// The time between two looks at the source.
const LOOK: Duration = Duration::from_millis(20);

/// The producer of a run.
pub(crate) struct Producer {
    source: Source,
    /// The deliveries that are confirmed.
    pub(crate) all: Vec<Published>,
    /// Records without an ID that anybody can read: in the topic that there is, and in those that were deleted.
    pub(crate) unreadable: (usize, usize),
    /// When queue or topic were created for the last time, in microseconds since the Unix epoch; 0 for the first time.
    pub(crate) recreated: u64,
}

impl Producer {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, all: Vec::new(), unreadable: (0, 0), recreated: 0 }
    }

    /// Keeps a backlog until the chaos is over.
    pub(crate) async fn publish(
        mut self,
        chaos: &Chaos<'_>,
        mut orders: mpsc::Receiver<Order>,
        done: &AtomicBool,
    ) -> Result<Self> {
        let published = self.publish_until_over(chaos, &mut orders).await;
        done.store(true, Ordering::SeqCst);
        published.map(|()| self)
    }

    async fn publish_until_over(
        &mut self,
        chaos: &Chaos<'_>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<()> {
        let mut n = 0;
        while !chaos.over.is_cancelled() {
            // With workers that keep up, nothing below may ever wait, and the chaos runs on this task as well.
            tokio::task::yield_now().await;
            if let Ok(order) = orders.try_recv() {
                self.obey(order.kind).await?;
                chaos.published.store(self.all.len(), Ordering::SeqCst);
                let _ = order.done.send(());
            }
            if chaos.watch.left(self.all.len()).await.is_none_or(|left| left >= chaos.args.backlog) {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            self.send((n..n + SLICE).map(id_of_delivery).collect()).await?;
            n += SLICE;
            chaos.published.store(self.all.len(), Ordering::SeqCst);
        }
        Ok(())
    }

    async fn send(&mut self, ids: Vec<String>) -> Result<()> {
        self.all.extend(self.source.publish(ids).await?);
        Ok(())
    }

    async fn obey(&mut self, kind: FaultKind) -> Result<()> {
        if kind == FaultKind::Unreadable {
            // The first one has taken effect long since: without its key it might overtake others.
            let id = self.all.first().map(|published| published.id.clone());
            self.unreadable.0 += self.source.publish_unreadable(id).await?;
            return Ok(());
        }
        self.source.recreate().await?;
        self.recreated = micros_now();
        // The offsets of the old topic mean nothing in the new one.
        self.all.iter_mut().for_each(|published| published.at = None);
        self.unreadable = (0, self.unreadable.0 + self.unreadable.1);
        // In their order, which the messages of a key have to keep.
        let numbers: BTreeSet<_> = self.all.iter().filter_map(|published| number(&published.id)).collect();
        let numbers: Vec<_> = numbers.into_iter().collect();
        for slice in numbers.chunks(SLICE) {
            self.send(slice.iter().map(|number| format!("m{number}")).collect()).await?;
        }
        Ok(())
    }
}
