//! Where deliveries end: the counts add up, whatever becomes of each.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, Mode, Ordered, RecordOnly};
use ackonce::{Context, Counts, Failure, MemoryStore, Runner, Scope, Settings};
use tokio::sync::mpsc;

#[derive(Debug, Clone, Copy)]
enum Order {
    Succeeds,
    WillNeverSucceed,
    Hangs,
}

impl Delivery for Order {
    type Message = Self;

    fn message(&self) -> Self {
        *self
    }
}

async fn handle(_: Context, order: Order) -> Result<(), Failure> {
    match order {
        Order::Succeeds => Ok(()),
        Order::WillNeverSucceed => Err(Failure::permanent("no such account")),
        Order::Hangs => std::future::pending().await,
    }
}

fn sum(counts: &Counts) -> u64 {
    counts.completed + counts.duplicate + counts.duplicate_of_buried + counts.buried + counts.handed_back
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_the_sum_of_their_ends_however_they_end() {
    let scope = Scope::new("counts").unwrap();
    let settings = Settings::default().with_shutdown_timeout(Duration::from_secs(1));
    let runner =
        Runner::with(Arc::new(MemoryStore::new()), &scope, handle, settings, Arc::new(RecordOnly)).unwrap();
    let job = |id: &'static str, order| Job::new(scope.key(id).unwrap(), order);
    for _ in 0..3 {
        let _ = runner.process(job("good", Order::Succeeds)).await.unwrap().redeem();
        let _ = runner.process(job("bad", Order::WillNeverSucceed)).await.unwrap().redeem();
    }
    // A caller that goes away.
    let gone = runner.process(job("hangs", Order::Hangs));
    assert!(tokio::time::timeout(Duration::from_millis(10), gone).await.is_err());
    let counts = runner.counts();
    assert_eq!((counts.completed, counts.duplicate, counts.buried, counts.duplicate_of_buried), (1, 2, 1, 2));
    assert_eq!((counts.handed_back, counts.delivered, sum(&counts)), (1, 7, 7));

    let (input, chunks) = mpsc::channel(4);
    let laned = |id, order| Ordered { lane: Some(1), job: job(id, order) };
    let consuming = {
        let runner = runner.clone();
        tokio::spawn(async move { runner.consume(chunks, Mode::Each, |_| {}).await })
    };
    let queued = vec![
        laned("good", Order::Succeeds),
        laned("next", Order::Succeeds),
        laned("hangs too", Order::Hangs),
        laned("waits behind it", Order::Succeeds),
    ];
    input.send(queued).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let counts = runner.counts();
    assert_eq!((counts.delivered, sum(&counts)), (11, 9), "two are in flight");
    runner.stop();
    drop(input);
    consuming.await.unwrap().unwrap();
    let counts = runner.counts();
    assert_eq!((counts.handed_back, counts.delivered, sum(&counts)), (3, 11, 11));
}
