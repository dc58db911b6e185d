//! The content of a record, and a store's description of itself.

use std::time::Duration;

use ackonce::store::{ClaimRequest, Fingerprint, Record, Settle, State};
use tokio::time::Instant;

use super::Fixture;
use super::bench::{Bench, LONG, complete, release};

/// None, empty, NULs, bytes that are no text, and 64 KiB: each comes back as it was given.
pub async fn an_outcome_comes_back_byte_for_byte(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = every_byte.repeat(256);
    let outcomes: [Option<&[u8]>; 9] = [
        None,
        Some(b""),
        Some(b"\0"),
        Some(b"a\0b"),
        Some(b" trailing \n"),
        Some(b"null"),
        Some(b"\xff\xfe"),
        Some(&every_byte),
        Some(&large),
    ];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let id = format!("id {n}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        let kept = outcome.map(|bytes| bytes.to_vec().into());
        bench.a.confirm(&lease, Settle::Complete { window: LONG, outcome: kept }).await;
        let record = bench.b.done(&bench.request(&id)).await;
        assert!(record.outcome.as_deref() == outcome, "outcome {n} was changed");
    }
}

/// An operator reads a reason as it was written, quotes and umlauts included.
pub async fn a_reason_comes_back_letter_for_letter(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let long = "x".repeat(4000);
    for reason in ["card declined", "", "it's \"50%\" \\ {x}; --", "größer als 1\u{a0}€ \u{1f4a3}", &long]
    {
        let id = format!("id {reason:.40}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        bench.a.confirm(&lease, Settle::Bury { window: LONG, reason: reason.to_owned() }).await;
        let record = bench.b.done(&bench.request(&id)).await;
        assert_eq!(
            (record.state, record.reason.as_deref()),
            (State::Buried, Some(reason)),
            "state and reason as they were written"
        );
    }
}

/// A record carries fence, attempt and fingerprint of the claim it came from.
pub async fn a_record_tells_its_claim(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let print = Fingerprint::of(b"payload");
    let request = || ClaimRequest { fingerprint: Some(print), ..bench.request("id") };
    let first = bench.a.acquire(&request()).await;
    bench.a.confirm(&first, release()).await;
    let lease = bench.a.acquire(&request()).await;
    bench.a.confirm(&lease, complete()).await;
    let record: Record = bench.b.done(&request()).await;
    assert_eq!(
        (record.state, record.fence, record.attempt),
        (State::Done, lease.fence, 2),
        "state, fence and attempt are those of the last claim"
    );
    // A store may keep a prefix of at least 8 bytes.
    assert_eq!(
        record.fingerprint.map(|f| f.0[..8].to_vec()),
        Some(print.0[..8].to_vec()),
        "the first eight bytes of the payload's fingerprint"
    );

    let lease = bench.a.acquire(&bench.request("without")).await;
    bench.a.confirm(&lease, complete()).await;
    assert_eq!(bench.b.done(&bench.request("without")).await.fingerprint, None, "no claim had a fingerprint");
}

/// The age is the time since the last claim, in the right unit.
pub async fn a_records_age_is_that_of_its_claim(fixture: &dyn Fixture) {
    // The error from rounding in a store and from the rates of two clocks.
    const TOLERANCE: Duration = Duration::from_secs(2);
    let bench = Bench::new(fixture).await;
    let waited = Duration::from_millis(200);
    let began = Instant::now();
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.pass(waited).await;
    bench.a.confirm(&lease, complete()).await;
    let age = bench.b.done(&bench.request("id")).await.age;
    let most = began.elapsed() + TOLERANCE;
    assert!(age + Duration::from_millis(1) >= waited && age <= most, "an age of {age:?}, at most {most:?}");
}

/// The description printed at start names the store in a line, and carries no password.
pub async fn a_description_names_the_store_without_secrets(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let description = bench.a.0.describe();
    assert!(!description.name.trim().is_empty() && !description.name.contains('\n'), "{description:?}");
    assert!(description.weaknesses.iter().all(|w| !w.trim().is_empty()), "{description:?}");
    let shown = format!("{description:?} {:?}", bench.a.0);
    for secret in fixture.secrets() {
        assert!(!shown.contains(&secret), "a secret is shown in the description or by Debug");
    }
    // As in redis://user:password@host.
    let mut authorities = shown.split("://").skip(1).map(|rest| rest.split(['/', ' ', '"']).next());
    let bare =
        authorities.all(|a| a.is_none_or(|a| a.split_once('@').is_none_or(|(user, _)| !user.contains(':'))));
    assert!(bare, "an address with its password is shown in the description or by Debug");
}
