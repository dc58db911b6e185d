//! Answers that take their time are the same answers.

use std::time::Duration;

use ackonce::store::Settle;

use super::Fixture;
use super::bench::Bench;
use crate::conformance::bench::{LONG, acquired};
use crate::proxy::ProxyMode;

/// Every piece comes later.
pub async fn delayed_answers_are_right(fixture: &dyn Fixture) {
    answers_are_right(fixture, ProxyMode::Delay(Duration::from_millis(20))).await;
}

/// Every piece comes in parts, cut anywhere.
pub async fn dripped_answers_are_right(fixture: &dyn Fixture) {
    for bytes in [7, 64] {
        answers_are_right(fixture, ProxyMode::Drip { bytes, gap: Duration::from_millis(1) }).await;
    }
}

async fn answers_are_right(fixture: &dyn Fixture, mode: ProxyMode) {
    let bench = Bench::new(fixture).await;
    bench.proxy.set(mode);
    let request = bench.request("id");
    let lease = bench.acquire(&request).await;
    assert_eq!(lease.attempt, 1, "the attempt of a slow claim");
    acquired(bench.near.claim(&request).await, &request);
    let outcome: Vec<u8> = (0..=u8::MAX).chain(0..=u8::MAX).collect();
    bench.settle(&lease, Settle::Complete { window: LONG, outcome: Some(outcome.clone().into()) }).await;
    match bench.claim(&bench.request("id")).await {
        ackonce::store::Claimed::Done(record) => assert_eq!(
            record.outcome.as_deref(),
            Some(outcome.as_slice()),
            "the outcome over a slow wire, byte for byte"
        ),
        answer => panic!("expected Done, not {answer:?}"),
    }
}
