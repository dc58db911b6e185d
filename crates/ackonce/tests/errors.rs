//! Errors of handlers: which signatures are handlers, and what their errors come to.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{RecordOnly, SettledAs, Why};
use ackonce::{
    Answer, AtMostOnce, Backoff, Batch, Class, Context, Effect, Failure, FailureKind, Handler, Item, Keyed,
    MapErr, MemoryStore, Runner, Settings,
};
use bytes::Bytes;
use common::*;

/// An application's error: two kinds, and one that holds another's.
#[derive(Debug, thiserror::Error)]
enum ChargeError {
    #[error("the card was declined")]
    Declined,
    #[error("the bank is away")]
    Bank(#[from] std::io::Error),
    #[error("who knows")]
    Odd,
}

impl ChargeError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Declined => FailureKind::Permanent,
            Self::Bank(_) => FailureKind::Infrastructure,
            Self::Odd => FailureKind::Retry,
        }
    }

    fn into_failure(self) -> Failure {
        match self {
            Self::Declined => Failure::permanent(self),
            Self::Bank(_) => Failure::infrastructure(self),
            Self::Odd => self.into(),
        }
    }
}

fn away() -> std::io::Error {
    std::io::Error::other("down")
}

fn charge(card: &str) -> Result<(), ChargeError> {
    match card {
        "declined" => Err(ChargeError::Declined),
        "away" => Err(away())?,
        "odd" => Err(ChargeError::Odd),
        _ => Ok(()),
    }
}

type Card = &'static str;
/// Makes a handler.
type Made = Box<dyn Fn() -> Box<dyn Handler<Card>>>;

fn is_handler(handler: impl Handler<Card>) -> impl Handler<Card> {
    handler
}

async fn answer(handler: impl Handler<Card>, card: Card) -> Answer {
    let lease = ackonce::store::Lease {
        key: scope().key(card).unwrap(),
        token: ackonce::store::Token::random(),
        fence: 1,
        attempt: 1,
        previous: ackonce::Previous::None,
        progress: None,
    };
    let cx = Context::new(lease, ackonce::CancellationToken::new());
    handler.handle(vec![Item { cx, message: card }]).await.pop().unwrap()
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Failure::Retry(_)) => "retry",
        Err(Failure::Permanent(_)) => "permanent",
        Err(Failure::Infrastructure(_)) => "infrastructure",
        Err(_) => "other",
    }
}

async fn by_anyhow(_: Context, card: Card) -> anyhow::Result<()> {
    charge(card)?;
    Ok(())
}

async fn by_own_error(_: Context, card: Card) -> Result<Bytes, ChargeError> {
    charge(card)?;
    Ok(Bytes::from_static(b"receipt"))
}

/// Nothing is written out but the arguments: the error type of a closure is inferred.
#[tokio::test]
async fn closures_end_with_ok_and_take_any_error_by_question_mark() {
    let plain = is_handler(|_: Context, _: Card| async { Ok(()) });
    assert_eq!(kind(&answer(plain, "x").await), "ok");
    let asking = is_handler(|_: Context, card: Card| async move {
        charge(card)?;
        "7".parse::<u32>()?;
        if card == "said" {
            return Err(Failure::permanent("said so"));
        }
        if card == "text" {
            Err("a text")?;
        }
        by_anyhow_alone(card)?;
        Ok(())
    });
    let asking = Arc::new(asking);
    for (card, expected) in
        [("fine", "ok"), ("declined", "retry"), ("said", "permanent"), ("text", "retry"), ("anyhow", "retry")]
    {
        let asking = asking.clone();
        let again = is_handler(Shared(asking));
        assert_eq!(kind(&answer(again, card).await), expected, "{card}");
    }
    let of_bytes = is_handler(|_: Context, card: Card| async move {
        charge(card)?;
        Ok(Some(Bytes::from_static(b"kept")))
    });
    assert_eq!(answer(of_bytes, "x").await.unwrap().into_outcome().unwrap(), "kept");
    is_handler(Keyed(|_: Context, _: Card| async { Ok(()) }));
    is_handler(AtMostOnce(|_: Context, _: Card| async { Ok(()) }));
    is_handler(Batch(|items: Vec<Item<Card>>| async move {
        items.iter().map(|_| Ok(Effect::from(()))).collect()
    }));
}

fn by_anyhow_alone(card: &str) -> anyhow::Result<()> {
    anyhow::ensure!(card != "anyhow", "not this one");
    Ok(())
}

/// A handler that is used several times.
struct Shared<H>(Arc<H>);

#[async_trait::async_trait]
impl<H: Handler<Card>> Handler<Card> for Shared<H> {
    fn class(&self) -> Class {
        self.0.class()
    }
    async fn handle(&self, items: Vec<Item<Card>>) -> Vec<Answer> {
        self.0.handle(items).await
    }
}

#[tokio::test]
async fn a_function_with_an_error_type_of_its_own_says_what_its_errors_are() {
    for (card, expected) in
        [("fine", "ok"), ("declined", "permanent"), ("away", "infrastructure"), ("odd", "retry")]
    {
        let handlers: [Made; 4] = [
            Box::new(|| Box::new(MapErr(by_own_error, ChargeError::into_failure))),
            Box::new(|| Box::new(Keyed(MapErr(by_own_error, ChargeError::into_failure)))),
            Box::new(|| {
                Box::new(MapErr(by_anyhow, |error: anyhow::Error| match error.downcast::<ChargeError>() {
                    Ok(own) => own.into_failure(),
                    Err(other) => other.into(),
                }))
            }),
            Box::new(|| {
                let each =
                    |items: Vec<Item<Card>>| async move { items.iter().map(|i| charge(i.message)).collect() };
                Box::new(Batch(MapErr(each, ChargeError::into_failure)))
            }),
        ];
        for (n, handler) in handlers.iter().enumerate() {
            assert_eq!(kind(&answer(Dyn(handler()), card).await), expected, "{card} {n}");
        }
    }
    let retried = is_handler(MapErr(by_anyhow, Failure::from));
    assert_eq!(kind(&answer(retried, "declined").await), "retry");
    let closure = MapErr(|_: Context, card: Card| async move { charge(card) }, ChargeError::into_failure);
    assert_eq!(kind(&answer(is_handler(closure), "declined").await), "permanent");
}

struct Dyn(Box<dyn Handler<Card>>);

#[async_trait::async_trait]
impl Handler<Card> for Dyn {
    fn class(&self) -> Class {
        self.0.class()
    }
    async fn handle(&self, items: Vec<Item<Card>>) -> Vec<Answer> {
        self.0.handle(items).await
    }
}

fn told() -> Settings {
    settings()
        .with_attempts(2)
        .with_backoff(Backoff { min: Duration::from_millis(1), max: Duration::from_millis(1) })
        .with_failure_kind(ChargeError::kind)
        .with_failure_kind(|_: &fmt::Error| FailureKind::Permanent)
}

/// One declined card, which is permanent, among those that pass; whatever kind of handler met it.
#[tokio::test(start_paused = true)]
async fn a_type_that_is_known_to_the_settings_is_sorted_wherever_question_mark_met_it() {
    async fn runs<H: Handler<u64>>(handler: H) -> (u64, u64) {
        let runner =
            Runner::with(Arc::new(MemoryStore::new()), &scope(), handler, told(), Arc::new(RecordOnly))
                .unwrap();
        let receipt = runner.process(job(1)).await.unwrap();
        assert_eq!(receipt.how(), SettledAs::Buried);
        (runner.counts().run, runner.counts().buried)
    }
    let once = (1, 1);
    let closure = |_: Context, _: u64| async {
        charge("declined")?;
        Ok(())
    };
    assert_eq!(runs(closure).await, once, "a closure");
    assert_eq!(runs(Keyed(closure)).await, once, "keyed");
    let batch = |items: Vec<Item<u64>>| async move {
        items.iter().map(|_| Ok(charge("declined").map(Effect::from)?)).collect()
    };
    assert_eq!(runs(Batch(batch)).await, once, "a batch");
    let under_a_context = |_: Context, _: u64| async {
        use anyhow::Context as _;
        charge("declined").context("charging").context("the order")?;
        Ok(())
    };
    assert_eq!(runs(under_a_context).await, once, "a source");
    let of_a_library = |_: Context, _: u64| async {
        Err(fmt::Error)?;
        Ok(())
    };
    assert_eq!(runs(of_a_library).await, once, "another type");
    let named = |_: Context, _: u64| async { Err::<(), _>(Failure::Retry(Box::new(ChargeError::Odd))) };
    assert_eq!(runs(named).await, (2, 1), "a type that says retry is retried");
    let explicit = |_: Context, _: u64| async { Err::<(), _>(Failure::permanent(ChargeError::Bank(away()))) };
    assert_eq!(runs(explicit).await, once, "a failure that the handler has named stays so");
}

#[tokio::test(start_paused = true)]
async fn a_type_that_says_infrastructure_uses_up_no_attempts() {
    let handler = |_: Context, _: u64| async {
        charge("away")?;
        Ok(())
    };
    let told = told().with_on_failure(ackonce::OnFailure::HandBack);
    let runner =
        Runner::with(Arc::new(MemoryStore::new()), &scope(), handler, told, Arc::new(RecordOnly)).unwrap();
    for _ in 0..5 {
        let unsettled = runner.process(job(1)).await.unwrap_err();
        assert!(
            matches!(unsettled.why(), Why::Failed { attempt: 1, infrastructure: true, .. }),
            "{unsettled:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_jobs_error_is_sorted_by_its_type() {
    use ackonce::schedule::{Every, ScheduledJob, Slot};
    let every = Every::new(Duration::from_secs(60)).unwrap();
    let began = (std::time::SystemTime::now(), tokio::time::Instant::now());
    let job = ScheduledJob::new(&scope(), every, Arc::new(MemoryStore::new()))
        .with_settings(Settings::default().with_failure_kind(ChargeError::kind))
        .with_clock(move || began.0 + began.1.elapsed());
    let shutdown = job.shutdown();
    let running = tokio::spawn(job.run(|_: Context, _: Slot| async {
        charge("declined")?;
        Ok(())
    }));
    tokio::time::sleep(Duration::from_secs(10 * 60)).await;
    shutdown.cancel();
    let counts = running.await.unwrap().unwrap();
    assert!(counts.buried >= 9 && counts.run == counts.buried, "each slot once: {counts:?}");
}
