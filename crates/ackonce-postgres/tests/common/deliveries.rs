//! A broker that fits in a test: it delivers numbers until each was acknowledged.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, Mode, Ordered, Receipt, RecordOnly, Unsettled};
use ackonce::{Backoff, Counts, Handler, Runner, Scope, Settings};
use ackonce_postgres::PostgresStore;
use tokio::sync::mpsc;

#[derive(Debug)]
pub struct Number(i64);

impl Delivery for Number {
    type Message = i64;
    fn message(&self) -> i64 {
        self.0
    }
}

/// Delivers them, and redelivers those that were handed back, until all are acknowledged.
pub async fn deliver(
    store: &PostgresStore,
    numbers: Range<i64>,
    feed: Mode,
    handler: impl Handler<i64>,
) -> Counts {
    let settings = Settings::default()
        .with_lease(Duration::from_secs(20))
        .with_backoff(Backoff { min: Duration::from_millis(1), max: Duration::from_millis(50) });
    let scope = Scope::new("deliveries").unwrap();
    let store = Arc::new(store.clone());
    let runner = Runner::with(store, &scope, handler, settings, Arc::new(RecordOnly)).unwrap();
    let (open, acknowledged) = (numbers.collect::<BTreeSet<_>>(), Arc::new(Mutex::new(BTreeSet::new())));
    while *acknowledged.lock().unwrap() != open {
        let (input, chunks) = mpsc::channel(1);
        let left: Vec<_> = open.difference(&acknowledged.lock().unwrap()).copied().collect();
        let job =
            |n: &i64| Ordered { lane: None, job: Job::new(runner.key(n.to_string()).unwrap(), Number(*n)) };
        input.send(left.iter().map(job).collect()).await.unwrap();
        drop(input);
        let done = Arc::clone(&acknowledged);
        let report = move |ended: Vec<Result<Receipt<Number>, Unsettled<Number>>>| {
            done.lock().unwrap().extend(ended.into_iter().flatten().map(|receipt| receipt.redeem().0));
        };
        runner.consume(chunks, feed, report).await.unwrap();
    }
    runner.counts()
}
