//! Trips to the store beside a delivery's own, for its handler while it runs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::claim::{ClaimRequest, Claimed, Lease};
use crate::class::Class;
use crate::context::{Context, Trips};
use crate::error::{Error, ErrorKind, Repeat};
use crate::failure::Failure;
use crate::handler::Handler;
use crate::heartbeat::{Grant, Hold};
use crate::observe::decision;
use crate::settle::{Settled, Settlement};
use crate::ticket::{Delivery, Why};

use super::Inner;
use super::trip::Tries;

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// The context of a run under this lease.
    pub(super) fn context(&self, grant: &Arc<Grant>) -> Context {
        Context::of(grant.clone()).with_window(self.settings.window).with_trips(self.me.clone())
    }
}

#[async_trait]
impl<D: Delivery, H: Handler<D::Message>> Trips for Inner<D, H> {
    fn class(&self) -> Class {
        self.metrics.class
    }

    fn lease(&self) -> Duration {
        self.settings.lease
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, Failure> {
        let (mut tries, time) = (Tries::default(), &self.metrics.claim_time);
        let requests = [request];
        let call = || self.store.claim_unboxed(&requests);
        let (answers, _) = self.trip(&self.stop, time, &mut tries, call).await.map_err(not_claimed)?;
        answers
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(no_answer()))
            .map_err(|e| not_claimed(Why::Unavailable(e)))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, Failure> {
        self.settle_all(settlements).await.into_iter().map(|answer| answer.map_err(not_settled)).collect()
    }

    fn hold(&self, grant: Arc<Grant>, claimed: Instant) -> Hold {
        self.heartbeat.hold([grant].into_iter().collect(), claimed)
    }

    fn note_step(&self, lease: &Lease, step: &str, was_recorded: bool) {
        let (counter, name) = match was_recorded {
            true => (&self.metrics.step_recorded, "step-recorded"),
            false => (&self.metrics.step, "step"),
        };
        counter.add(1);
        decision!(debug, self.metrics, name, lease.key, Some(lease), step);
    }

    fn note_stale(&self, lease: &Lease, version: &str, highest: &str, is_equal: bool) {
        if is_equal {
            let text = "two messages have one version: the first took effect";
            decision!(warn, self.metrics, "stale", lease.key, Some(lease), version, highest, "{text}");
        } else {
            decision!(debug, self.metrics, "stale", lease.key, Some(lease), version, highest);
        }
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Protocol, "the store did not answer a claim")
}

/// Nothing has happened yet.
fn not_claimed(why: Why) -> Failure {
    match why {
        Why::Fatal(error) | Why::Unavailable(error) => Failure::infrastructure(error),
        _ => Failure::infrastructure("the runner was stopped"),
    }
}

/// The effect has happened, and its record is unknown.
fn not_settled(why: Why) -> Failure {
    match why {
        // The trouble of this message alone.
        Why::Fatal(error) if error.kind() == ErrorKind::Invalid => Failure::permanent(error),
        Why::Fatal(error) if error.repeat() == Repeat::Never => Failure::Store(error),
        Why::Fatal(error) | Why::Unavailable(error) => Failure::unknown(error),
        _ => Failure::Cancelled("the runner was stopped".into()),
    }
}
