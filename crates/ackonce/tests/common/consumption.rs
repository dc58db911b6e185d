//! The consumption loop on a scripted store, fed by hand.

use std::sync::{Arc, Mutex};

use ackonce::adapter::{Graveyard, Job, Mode, Ordered, Receipt, RecordOnly, SettledAs, Unsettled};
use ackonce::{Counts, Handler, Runner, Settings};
use tokio::sync::mpsc;

use super::{Number, Scripted, job, scope};

/// How each delivery ended, in order.
pub type Outcomes = Arc<Mutex<Vec<Result<(u64, SettledAs), u64>>>>;

pub struct Consumption<H: Handler<u64>> {
    pub runner: Runner<Number, H>,
    pub input: mpsc::Sender<Vec<Ordered<Number>>>,
    pub outcomes: Outcomes,
    pub task: tokio::task::JoinHandle<ackonce::Result<()>>,
}

pub fn consume<H: Handler<u64>>(
    store: &Scripted,
    settings: Settings,
    feed: Mode,
    handler: H,
) -> Consumption<H> {
    consume_with(store, settings, feed, handler, Arc::new(RecordOnly))
}

pub fn consume_with<H: Handler<u64>>(
    store: &Scripted,
    settings: Settings,
    feed: Mode,
    handler: H,
    graveyard: Arc<dyn Graveyard<Number>>,
) -> Consumption<H> {
    let runner = Runner::with(Arc::new(store.clone()), &scope(), handler, settings, graveyard).unwrap();
    let (input, receiver) = mpsc::channel(100);
    let outcomes = Outcomes::default();
    let (report, running) = (outcomes.clone(), runner.clone());
    let done = move |ended: Vec<Result<Receipt<Number>, Unsettled<Number>>>| {
        report.lock().unwrap().extend(ended.into_iter().map(|outcome| match outcome {
            Ok(receipt) => Ok((receipt.delivery().n, receipt.how())),
            Err(unsettled) => Err(unsettled.delivery().n),
        }));
    };
    let task = tokio::spawn(async move { running.consume(receiver, feed, done).await });
    Consumption { runner, input, outcomes, task }
}

impl<H: Handler<u64>> Consumption<H> {
    pub async fn feed(&self, chunk: impl IntoIterator<Item = (Option<u64>, u64)>) {
        self.feed_jobs(chunk.into_iter().map(|(lane, n)| (lane, job(n)))).await;
    }

    pub async fn feed_jobs(&self, chunk: impl IntoIterator<Item = (Option<u64>, Job<Number>)>) {
        let chunk = chunk.into_iter().map(|(lane, job)| Ordered { lane, job }).collect();
        self.input.send(chunk).await.unwrap();
    }

    /// Returns once that many deliveries have ended.
    pub async fn ended(&self, n: usize) {
        while self.outcomes.lock().unwrap().len() < n {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    pub async fn end(self) -> (Vec<Result<(u64, SettledAs), u64>>, Counts) {
        drop(self.input);
        self.task.await.unwrap().unwrap();
        (std::mem::take(&mut self.outcomes.lock().unwrap()), self.runner.counts())
    }
}
