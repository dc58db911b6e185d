//! Room: expired records do not take space for ever.

use std::time::Duration;

use ackonce::store::{Settle, Settled, Settlement};
use tokio::time::Instant;

use super::Fixture;
use super::bench::{Bench, PATIENCE, SHORT, acquired};

/// A number above that of the records of other properties, which may run beside this one.
const MANY: u32 = 4000;
const BATCH: usize = 500;

/// Thousands of records are there, expire, and are dropped: by a sweep, or by the store itself.
pub async fn expired_records_take_no_room(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let before = fixture.held().await;
    let requests: Vec<_> = (0..MANY).map(|n| bench.request(n.to_be_bytes())).collect();
    let mut leases = Vec::new();
    for batch in requests.chunks(BATCH) {
        let answers = bench.a.claim_all(batch).await;
        leases.extend(answers.into_iter().zip(batch).map(|(answer, request)| acquired(answer, request)));
    }
    let full = fixture.held().await;
    assert!(full >= u64::from(MANY), "{MANY} keys are claimed, and {full} records are held");
    let at_once = Settle::Complete { window: Duration::ZERO, outcome: None };
    for batch in leases.chunks(BATCH) {
        let settlements: Vec<_> = batch.iter().map(|lease| Settlement::new(lease, at_once.clone())).collect();
        let answers = bench.a.settle_all(&settlements).await;
        assert!(
            answers.iter().all(|answer| *answer == Settled::Yes),
            "a completion by the holder is confirmed"
        );
    }
    let (most, began) = (before + u64::from(MANY) * 4 / 5, Instant::now());
    loop {
        let held = fixture.held().await;
        if held < most {
            return;
        }
        let waited = began.elapsed();
        assert!(
            waited < PATIENCE,
            "{before} records were held, {MANY} more came and expired, and {held} are held after {waited:?}"
        );
        tokio::time::sleep(SHORT).await;
    }
}
