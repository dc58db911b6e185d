//! Deliveries between their arrival and their end.

use std::sync::Arc;
use std::time::Instant;

use super::Meters;
use crate::{Receipt, SettledAs, Unsettled};

/// Counts deliveries that were taken in until they are over. Those left when it is dropped have lost their caller.
pub(crate) struct Taken {
    meters: Arc<Meters>,
    left: u64,
}

impl Taken {
    pub(crate) fn none(meters: Arc<Meters>) -> Self {
        Self { meters, left: 0 }
    }

    pub(crate) fn take(&mut self, deliveries: usize) {
        self.left += deliveries as u64;
        self.meters.delivered.add(deliveries as u64);
        self.meters.in_flight.increment(deliveries as f64);
    }

    pub(crate) fn over<D>(&mut self, outcomes: &[Result<Receipt<D>, Unsettled<D>>]) {
        let (mut completed, mut handed_back) = (0, 0);
        for outcome in outcomes {
            match outcome {
                Ok(receipt) => completed += u64::from(receipt.how() == SettledAs::Run),
                Err(_) => handed_back += 1,
            }
        }
        // Duplicates and burials were counted when they were decided.
        self.meters.completed.add(completed);
        self.meters.handed_back.add(handed_back);
        self.meters.in_flight.decrement(outcomes.len() as f64);
        self.left = self.left.saturating_sub(outcomes.len() as u64);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.left > 0 {
            self.meters.handed_back.add(self.left);
            self.meters.in_flight.decrement(self.left as f64);
        }
    }
}

/// Messages that are with the handler, until it is dropped.
pub(crate) struct Running<'a> {
    meters: &'a Meters,
    messages: usize,
    began: Instant,
}

impl Meters {
    /// One run begins.
    pub(crate) fn run(&self, messages: usize) -> Running<'_> {
        self.run.add(messages as u64);
        self.running.increment(messages as f64);
        Running { meters: self, messages, began: Instant::now() }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.meters.running.decrement(self.messages as f64);
        self.meters.handler_time.record(self.began.elapsed());
    }
}
