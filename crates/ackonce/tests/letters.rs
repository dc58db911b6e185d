//! Dead letters that are published again after the handler was mended.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Burial, BurialProof, BuryError, Graveyard, Letter, Mode, SettledAs};
use ackonce::store::{DeduplicatorExt, Fingerprint, Settled};
use ackonce::{Backoff, Batch, Context, Effect, Failure, Handler, Item, Runner, Settings};
use async_trait::async_trait;
use common::consumption::consume_with;
use common::{Fault, Number, Scripted, job, scope, settings};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<Burial>>>);

impl Letters {
    fn last(&self) -> BurialProof {
        self.0.lock().unwrap().last().unwrap().proof
    }
}

#[async_trait]
impl Graveyard<Number> for Letters {
    async fn bury(&self, _: &Number, burial: &Burial) -> Result<Letter, BuryError> {
        self.0.lock().unwrap().push(burial.clone());
        Ok(Letter::Whole)
    }
}

/// A handler that calls each message a permanent failure until it is mended.
#[derive(Clone, Default)]
struct Mended(Arc<AtomicBool>);

impl Mended {
    fn handler(&self) -> impl Handler<u64> + use<> {
        let mended = self.0.clone();
        move |_: Context, _: u64| {
            let mended = mended.clone();
            async move {
                match mended.load(Ordering::SeqCst) {
                    true => Ok(()),
                    false => Err(Failure::permanent("a bug")),
                }
            }
        }
    }
}

fn runner<H: Handler<u64>>(store: &Scripted, letters: &Letters, handler: H) -> Runner<Number, H> {
    Runner::with(Arc::new(store.clone()), &scope(), handler, settings(), Arc::new(letters.clone())).unwrap()
}

#[tokio::test]
async fn a_letter_redrives_its_record_and_a_copy_of_the_original_does_not() {
    let (store, letters, mended) = (Scripted::default(), Letters::default(), Mended::default());
    let runner = runner(&store, &letters, mended.handler());
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Buried);
    mended.0.store(true, Ordering::SeqCst);

    let copy = runner.process(job(1)).await.unwrap();
    assert!(matches!(copy.how(), SettledAs::Duplicate { .. }), "a copy of the original");
    assert_eq!((runner.counts().duplicate_of_buried, runner.counts().redriven), (1, 0));

    let letter = || job(1).as_letter(letters.last());
    assert_eq!(runner.process(letter()).await.unwrap().how(), SettledAs::Run);
    assert_eq!((runner.counts().run, runner.counts().redriven), (2, 1));
    for _ in 0..2 {
        let again = runner.process(letter()).await.unwrap();
        assert!(matches!(again.how(), SettledAs::Duplicate { .. }), "it took effect");
    }
    let counts = runner.counts();
    assert_eq!((counts.run, counts.redriven, counts.duplicate, counts.duplicate_of_buried), (2, 1, 2, 1));
}

#[tokio::test]
async fn a_letter_of_an_earlier_burial_or_a_forged_one_redrives_nothing() {
    let (store, letters, mended) = (Scripted::default(), Letters::default(), Mended::default());
    let runner = runner(&store, &letters, mended.handler());
    let _ = runner.process(job(1)).await.unwrap();
    let first = letters.last();
    let again = runner.process(job(1).as_letter(first)).await.unwrap();
    assert_eq!(
        again.how(),
        SettledAs::Buried,
        "it is not mended yet, and is buried with a letter of its own"
    );
    let second = letters.last();
    let _ = runner.process(job(2)).await.unwrap();
    mended.0.store(true, Ordering::SeqCst);
    let forged: BurialProof = format!("{:032x}-{}-0", 7, u64::MAX).parse().unwrap();
    for (n, stale) in [first, forged, letters.last()].into_iter().enumerate() {
        for _ in 0..2 {
            let receipt = runner.process(job(1).as_letter(stale)).await.unwrap();
            assert!(matches!(receipt.how(), SettledAs::Duplicate { .. }), "{n}");
        }
    }
    assert_eq!((runner.counts().redriven, runner.counts().duplicate_of_buried), (1, 6));
    assert_eq!(runner.process(job(1).as_letter(second)).await.unwrap().how(), SettledAs::Run);
}

#[tokio::test]
async fn letters_in_a_batch_run_and_cost_the_others_nothing() {
    for feed in [Mode::Each, Mode::Batches] {
        let (store, letters, mended) = (Scripted::default(), Letters::default(), Mended::default());
        let first = runner(&store, &letters, mended.handler());
        for n in 0..5 {
            let _ = first.process(job(n)).await.unwrap();
        }
        let each =
            |items: Vec<Item<u64>>| async move { items.iter().map(|_| Ok(Effect::from(()))).collect() };
        let consumption = consume_with(&store, settings(), feed, Batch(each), Arc::new(letters.clone()));
        let proofs: Vec<_> = letters.0.lock().unwrap().iter().map(|b| (b.key.clone(), b.proof)).collect();
        let jobs = (0..10).map(|n| {
            let job = job(n);
            let proof = proofs.iter().find(|(key, _)| key == job.key()).map(|(_, proof)| *proof);
            (
                None,
                match proof {
                    Some(proof) => job.as_letter(proof),
                    None => job,
                },
            )
        });
        consumption.feed_jobs(jobs).await;
        let (outcomes, counts) = consumption.end().await;
        assert!(
            outcomes.len() == 10 && outcomes.iter().all(|o| matches!(o, Ok((_, SettledAs::Run)))),
            "{outcomes:?}"
        );
        assert_eq!((counts.redriven, counts.run), (5, 10), "{feed:?}");
    }
}

#[tokio::test]
async fn a_letter_whose_payload_was_mended_runs_with_that() {
    let (store, letters, mended) = (Scripted::default(), Letters::default(), Mended::default());
    let runner = runner(&store, &letters, mended.handler());
    let with = |payload: &[u8]| job(1).with_fingerprint(Fingerprint::of(payload));
    let _ = runner.process(with(b"broken")).await.unwrap();
    mended.0.store(true, Ordering::SeqCst);
    let letter = with(b"mended").as_letter(letters.last());
    assert_eq!(runner.process(letter).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runner.counts().mismatch, 0);
    assert!(matches!(runner.process(with(b"mended")).await.unwrap().how(), SettledAs::Duplicate { .. }));
}

/// A lost reply, and a death between the redrive and the claim.
#[tokio::test]
async fn a_redrive_that_was_interrupted_runs_the_message_once() {
    let (store, letters, mended) = (Scripted::default(), Letters::default(), Mended::default());
    let runner = runner(&store, &letters, mended.handler());
    for n in [1, 2] {
        let _ = runner.process(job(n)).await.unwrap();
    }
    mended.0.store(true, Ordering::SeqCst);
    store.settles.lock().unwrap().push_back(Fault::ErrorAfter);
    assert_eq!(runner.process(job(2).as_letter(letters.last())).await.unwrap().how(), SettledAs::Run);

    let proof = letters.0.lock().unwrap()[0].proof;
    let redrive = proof.redrive(job(1).key().clone(), HOUR);
    assert_eq!(store.store.settle_one(redrive).await.unwrap(), Settled::Yes);
    assert_eq!(
        runner.process(job(1).as_letter(proof)).await.unwrap().how(),
        SettledAs::Run,
        "found released"
    );
    assert_eq!(runner.counts().run, 4);
}

/// Each letter comes back at once, and the handler is never mended.
#[tokio::test(start_paused = true)]
async fn letters_that_go_in_circles_come_ever_more_slowly() {
    let (store, letters, runs) = (Scripted::default(), Letters::default(), Arc::new(AtomicU32::new(0)));
    let seen = runs.clone();
    let handler = move |_: Context, _: u64| {
        seen.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(Failure::permanent("for ever")) }
    };
    let backoff = Backoff::default();
    let told = Settings::default().with_backoff(backoff);
    let runner = Runner::with(Arc::new(store), &scope(), handler, told, Arc::new(letters.clone())).unwrap();
    let _ = runner.process(job(1)).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < HOUR {
        let letter = job(1).as_letter(letters.last().to_string().parse().unwrap());
        assert_eq!(runner.process(letter).await.unwrap().how(), SettledAs::Buried);
    }
    let runs = runs.load(Ordering::SeqCst);
    assert!((20..60).contains(&runs), "two minutes apart in the end: {runs}");
}

#[test]
fn a_proof_is_read_as_it_was_written_and_nothing_else_is_one() {
    let text = "000102030405060708090a0b0c0d0e0f-1700000000000000-3";
    assert_eq!(text.parse::<BurialProof>().unwrap().to_string(), text);
    for bad in
        ["", "-", "--", "0-0-0-0", "x-1-0", "0--1-0", "0-1-x", "0-99999999999999999999-0", "0-1-4294967296"]
    {
        assert!(bad.parse::<BurialProof>().is_err(), "{bad}");
    }
}
