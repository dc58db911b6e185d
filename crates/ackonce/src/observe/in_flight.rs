//! Deliveries between their arrival and their end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Metrics;
use super::activity::Listed;
use crate::claim::Lease;
use crate::ticket::{Delivery, Receipt, SettledAs, Unsettled};

/// Counts deliveries that were taken in until they are over. Those left when it is dropped have lost their caller.
pub(crate) struct InFlight {
    metrics: Arc<Metrics>,
    left: u64,
}

impl InFlight {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, left: 0 }
    }

    pub(crate) fn begin(&mut self, deliveries: usize) {
        self.left += deliveries as u64;
        self.metrics.delivered.add(deliveries as u64);
        self.metrics.in_flight.increment(deliveries as f64);
    }

    pub(crate) fn end<D: Delivery>(&mut self, outcomes: &[Result<Receipt<D>, Unsettled<D>>]) {
        let (mut completed, mut stale, mut handed_back) = (0, 0, 0);
        let now = (Instant::now(), SystemTime::now());
        for outcome in outcomes {
            if let Ok(receipt) = outcome {
                self.took(receipt, now);
            }
            match outcome.as_ref().map(Receipt::how) {
                Ok(SettledAs::Run) => completed += 1,
                Ok(SettledAs::Stale) => stale += 1,
                Ok(SettledAs::Duplicate { .. } | SettledAs::Buried) => {}
                Err(_) => handed_back += 1,
            }
        }
        // Duplicates and burials were counted when they were decided.
        self.metrics.completed.add(completed);
        if stale > 0 {
            self.metrics.stale.add(stale);
        }
        self.metrics.handed_back.add(handed_back);
        self.metrics.in_flight.decrement(outcomes.len() as f64);
        self.left = self.left.saturating_sub(outcomes.len() as u64);
    }

    /// The end-to-end time of a message that was settled now. A duplicate was settled before: its own time says nothing.
    fn took<D: Delivery>(&self, receipt: &Receipt<D>, (now, today): (Instant, SystemTime)) {
        if matches!(receipt.how(), SettledAs::Duplicate { .. }) {
            return;
        }
        let took = match receipt.delivery().published() {
            // A publisher whose clock is ahead counts as one that has published just now.
            Some(published) => today.duration_since(published).unwrap_or(Duration::ZERO),
            None => now.saturating_duration_since(receipt.came),
        };
        self.metrics.end_to_end.record(took);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.left > 0 {
            self.metrics.handed_back.add(self.left);
            self.metrics.in_flight.decrement(self.left as f64);
        }
    }
}

/// Messages that are with the handler, until it is dropped.
pub(crate) struct Running<'a> {
    metrics: &'a Metrics,
    messages: usize,
    began: Instant,
    _listed: Listed,
}

impl Metrics {
    /// One run begins.
    pub(crate) fn run<'a>(&self, leases: impl ExactSizeIterator<Item = &'a Lease>) -> Running<'_> {
        let (messages, began) = (leases.len(), Instant::now());
        self.run.add(messages as u64);
        self.running.increment(messages as f64);
        Running { metrics: self, messages, began, _listed: Listed::new(leases, began) }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.metrics.running.decrement(self.messages as f64);
        self.metrics.handler_time.record(self.began.elapsed());
    }
}
