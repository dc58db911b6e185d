//! A batch is answered as if its requests came one after another, and costs one trip.

use ackonce::store::{ClaimRequest, Claimed, Fingerprint, Settle, Settled, Settlement};

use super::Fixture;
use super::bench::{Bench, LONG, acquired, bury, complete, extend, release};

/// Each request has its answer at its own place, independent of the other answers.
pub async fn a_batch_of_claims_is_answered_in_order(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let print = |payload: &[u8]| Some(Fingerprint::of(payload));
    for (id, action) in
        [("done", complete()), ("buried", bury()), ("released", release()), ("held", extend())]
    {
        let lease = bench.a.acquire(&bench.request(id)).await;
        bench.a.confirm(&lease, action).await;
    }
    bench.a.acquire(&ClaimRequest { fingerprint: print(b"one"), ..bench.request("other") }).await;
    let other = ClaimRequest { fingerprint: print(b"two"), ..bench.request("other") };
    let ids = ["new", "held", "done", "released", "buried", "a new one", "held", "done"];
    let mut requests: Vec<_> = ids.iter().map(|id| bench.request(id)).collect();
    requests.insert(3, other);
    let answers: Vec<_> = bench.b.claim_all(&requests).await;
    let words: Vec<_> = answers.iter().map(word).collect();
    let expected = ["acquired", "busy", "done", "mismatch", "acquired", "done", "acquired", "busy", "done"];
    assert_eq!(words, expected, "the answers to {ids:?} with a mismatch at the fourth place, in order");
    for (answer, request) in answers.into_iter().zip(&requests) {
        if matches!(answer, Claimed::Acquired(_)) {
            acquired(answer, request);
        }
    }
}

fn word(answer: &Claimed) -> &'static str {
    match answer {
        Claimed::Acquired(_) => "acquired",
        Claimed::Done(_) => "done",
        Claimed::Busy { .. } => "busy",
        Claimed::Mismatch(_) => "mismatch",
    }
}

/// Each settlement has the answer at its own place, and those that are Lost cost the others nothing.
pub async fn a_batch_of_settlements_is_answered_in_order(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let (old, new) = bench.taken_over("taken over").await;
    let mut settlements = vec![Settlement::new(&old, complete()), Settlement::new(&new, complete())];
    for (n, action) in [complete(), release(), extend(), bury()].into_iter().enumerate() {
        let lease = bench.a.acquire(&bench.request(format!("id {n}"))).await;
        settlements.push(Settlement::new(&lease, action));
        settlements.push(Settlement::new(&old, release()));
    }
    let (yes, lost) = (Settled::Yes, Settled::Lost);
    let expected = [lost, yes, yes, lost, yes, lost, yes, lost, yes, lost];
    assert_eq!(
        bench.b.settle_all(&settlements).await,
        expected,
        "each settlement is answered at its own place"
    );
    let ids = ["taken over", "id 0", "id 1", "id 2", "id 3"];
    let requests: Vec<_> = ids.iter().map(|id| bench.request(id)).collect();
    let words: Vec<_> = bench.a.claim_all(&requests).await.iter().map(word).collect();
    assert_eq!(words, ["done", "done", "acquired", "busy", "done"], "how {ids:?} stand after the batch");
}

/// Two deliveries of one message in one batch: the first is granted, the rest wait.
pub async fn a_duplicate_in_a_batch_is_busy(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let requests: Vec<_> = (0..4).map(|_| bench.request("id")).collect();
    let answers = bench.a.claim_all(&requests).await;
    assert_eq!(
        answers.iter().map(word).collect::<Vec<_>>(),
        ["acquired", "busy", "busy", "busy"],
        "of four claims of one key in a batch, the first is granted and the others wait"
    );
    for answer in &answers[1..] {
        let held = matches!(answer, Claimed::Busy { free_in } if !free_in.is_zero() && *free_in <= LONG);
        assert!(held, "busy with the first of the batch: {answer:?}");
    }
    assert_eq!(acquired(answers[0].clone(), &requests[0]).attempt, 1, "the attempt of a first claim");
}

/// The neighbours of a duplicate are granted, each with its own first attempt.
pub async fn a_duplicate_in_a_batch_costs_the_others_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let ids = ["z", "twice", "a", "twice", "m", "twice", "b"];
    let requests: Vec<_> = ids.iter().map(|id| bench.request(id)).collect();
    let answers = bench.a.claim_all(&requests).await;
    let words: Vec<_> = answers.iter().map(word).collect();
    assert_eq!(
        words,
        ["acquired", "acquired", "acquired", "busy", "acquired", "busy", "acquired"],
        "the answers to {ids:?}, each for itself"
    );
    for (answer, request) in answers.into_iter().zip(&requests).filter(|(a, _)| word(a) == "acquired") {
        let lease = acquired(answer, request);
        assert_eq!(lease.attempt, 1, "the attempt of a first claim beside a duplicate");
        bench.b.confirm(&lease, complete()).await;
    }
}

/// The same claim twice in one batch (two tries, coalesced) is one grant, answered twice.
pub async fn a_repeat_in_a_batch_is_one_grant(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.request("id");
    let answers = bench.a.claim_all(&[request.clone(), bench.request("other"), request.clone()]).await;
    assert_eq!(
        acquired(answers[0].clone(), &request),
        acquired(answers[2].clone(), &request),
        "one claim, twice in a batch, is one grant"
    );
}

/// Settlements of one lease in one batch: each meets the record that the one before it left.
pub async fn settlements_of_one_lease_in_a_batch_follow_one_another(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let (yes, lost) = (Settled::Yes, Settled::Lost);
    let cases: [(&str, [Settle; 2], [Settled; 2]); 6] = [
        ("completed twice", [complete(), complete()], [yes, yes]),
        ("completed, then released", [complete(), release()], [yes, lost]),
        ("released, then completed", [release(), complete()], [yes, lost]),
        ("extended, then completed", [extend(), complete()], [yes, yes]),
        ("completed, then extended", [complete(), extend()], [yes, lost]),
        ("buried, then completed", [bury(), complete()], [yes, lost]),
    ];
    let mut settlements = Vec::new();
    for (id, actions, _) in &cases {
        let lease = bench.a.acquire(&bench.request(id)).await;
        settlements.extend(actions.iter().map(|action| Settlement::new(&lease, action.clone())));
    }
    let answers = bench.a.settle_all(&settlements).await;
    for ((id, _, expected), answers) in cases.iter().zip(answers.chunks(2)) {
        assert_eq!(answers, expected, "{id}");
    }
}

/// Nothing asked, nothing answered, no error.
pub async fn an_empty_batch_has_no_answers(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    assert!(bench.a.claim_all(&[]).await.is_empty(), "an empty batch of claims has no answers");
    assert!(bench.a.settle_all(&[]).await.is_empty(), "an empty batch of settlements has no answers");
}

/// Two thousand in one call, past every driver's limit on parameters: claimed, settled and found.
pub async fn a_large_batch_is_answered_whole(fixture: &dyn Fixture) {
    const MANY: u32 = 2000;
    let bench = Bench::new(fixture).await;
    let requests: Vec<_> = (0..MANY).map(|n| bench.request(n.to_be_bytes())).collect();
    let answers = bench.a.claim_all(&requests).await;
    let leases: Vec<_> = answers.into_iter().zip(&requests).map(|(a, r)| acquired(a, r)).collect();
    let settlements = (0..MANY).zip(&leases).map(|(n, lease)| {
        let outcome = Some(n.to_be_bytes().to_vec().into());
        Settlement::new(lease, Settle::Complete { window: LONG, outcome })
    });
    let settlements: Vec<_> = settlements.collect();
    assert!(
        bench.a.settle_all(&settlements).await.iter().all(|answer| *answer == Settled::Yes),
        "each of {MANY} completions by its holder is confirmed"
    );
    let again: Vec<_> = (0..MANY).map(|n| bench.request(n.to_be_bytes())).collect();
    for (n, answer) in (0..MANY).zip(bench.b.claim_all(&again).await) {
        let Claimed::Done(record) = answer else { panic!("expected Done for {n}, not {answer:?}") };
        assert_eq!(
            record.outcome.as_deref(),
            Some(n.to_be_bytes().as_slice()),
            "the outcome of message {n} of {MANY}"
        );
    }
}
