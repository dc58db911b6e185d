//! Steps of a handler: recorded once they have finished, and not run again.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::RecordOnly;
use ackonce::adapter::SettledAs;
use ackonce::store::{
    ClaimRequest, Claimed, DeduplicatorExt, Description, Inspect, RecordTarget, Settle, Settled, Settlement,
    State,
};
use ackonce::{
    AtMostOnce, CancellationToken, Context, Deduplicator, Failure, MAX_STEP_LEN, MemoryStore, OnUnknown,
    Result, Runner, Settings, StepName,
};
use async_trait::async_trait;
use common::{Number, claim_request, job, scope, settings};

/// The in-memory store, which counts its trips and the settlements in them, and takes its time.
#[derive(Debug, Default, Clone)]
struct Counting {
    store: MemoryStore,
    claims: Arc<AtomicUsize>,
    trips: Arc<AtomicUsize>,
    saves: Arc<AtomicUsize>,
    takes: Duration,
}

#[async_trait]
impl Deduplicator for Counting {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.store.claim(requests).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.trips.fetch_add(1, Ordering::SeqCst);
        let saves = settlements.iter().filter(|s| matches!(s.action, Settle::Save { .. })).count();
        self.saves.fetch_add(saves, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.store.settle(settlements).await
    }
    fn describe(&self) -> Description {
        self.store.describe()
    }
}

/// The runs of each step, in order.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<String>>>);

impl Runs {
    fn note(&self, step: &str) {
        self.0.lock().unwrap().push(step.to_owned());
    }
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn runner<H: ackonce::Handler<u64>>(
    store: impl Deduplicator + 'static,
    handler: H,
    settings: Settings,
) -> Runner<Number, H> {
    Runner::with(Arc::new(store), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn finished_steps_are_answered_and_the_rest_runs() {
    let (store, runs) = (MemoryStore::new(), Runs::default());
    let (noted, failing) = (runs.clone(), Arc::new(AtomicUsize::new(2)));
    let handler = move |cx: Context, n: u64| {
        let (runs, failing) = (noted.clone(), failing.clone());
        async move {
            let charge: String = cx
                .step("charge", async |step| {
                    runs.note(step.name());
                    Ok(format!("charge of {n} by {}", step.idempotency_key()))
                })
                .await?;
            assert_eq!(charge, format!("charge of {n} by {}", cx.idempotency_key("charge")));
            cx.step("ship", async |step| {
                let parcel = step.step("pack", async |inner| {
                    runs.note(inner.name());
                    Ok(7)
                });
                assert_eq!(parcel.await?, 7);
                runs.note("ship");
                if failing.fetch_sub(1, Ordering::SeqCst) > 0 {
                    Err("the carrier is away")?;
                }
                Ok(())
            })
            .await?;
            cx.step("mail", async |_| {
                runs.note("mail");
                Ok(())
            })
            .await
        }
    };
    let runner = runner(store.clone(), handler, settings());
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runs.taken(), ["charge", "ship/pack", "ship", "ship", "ship", "mail"]);
    let counts = runner.counts();
    assert_eq!((counts.step, counts.step_recorded, counts.retried), (4, 4, 2));
    let record = store.look(&scope().key("1").unwrap()).await.unwrap().unwrap().record;
    assert_eq!((record.state, record.progress), (State::Done, None), "a message that is done needs no steps");
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_asks_nothing_and_a_step_costs_one_settlement() {
    let store = Counting::default();
    let handler = |cx: Context, _: u64| async move {
        for name in ["a", "b", "c"] {
            cx.step(name, async |_| Ok(())).await?;
        }
        Ok::<(), Failure>(())
    };
    let _receipt = runner(store.clone(), handler, settings()).process(job(1)).await.unwrap();
    let counted = [&store.claims, &store.trips, &store.saves].map(|n| n.load(Ordering::SeqCst));
    assert_eq!(counted, [1, 4, 3], "a claim, three steps and a completion");
}

#[tokio::test(start_paused = true)]
async fn steps_that_finish_together_share_a_trip() {
    let store = Counting { takes: Duration::from_millis(10), ..Counting::default() };
    let handler = |cx: Context, _: u64| async move {
        let steps = ["a", "b", "c", "d", "e"].map(|name| {
            let cx = cx.clone();
            async move { cx.step(name, async |_| Ok(name.to_owned())).await }
        });
        for (step, name) in
            futures_util::future::join_all(steps).await.into_iter().zip(["a", "b", "c", "d", "e"])
        {
            assert_eq!(step?, name);
        }
        Ok::<(), Failure>(())
    };
    let _receipt = runner(store.clone(), handler, settings()).process(job(1)).await.unwrap();
    assert_eq!(
        store.saves.load(Ordering::SeqCst),
        2,
        "the first waits for nobody, the four after it share a trip"
    );
}

#[tokio::test(start_paused = true)]
async fn steps_of_many_messages_share_trips() {
    let store = Counting { takes: Duration::from_millis(10), ..Counting::default() };
    let handler = |cx: Context, _: u64| async move {
        for name in ["a", "b", "c"] {
            cx.step(name, async |_| Ok(())).await?;
        }
        Ok::<(), Failure>(())
    };
    let runner = runner(store.clone(), handler, settings().with_concurrency(400));
    let jobs = (0..400).map(|n| runner.process(job(n)));
    let ended = futures_util::future::join_all(jobs).await;
    assert!(ended.iter().all(std::result::Result::is_ok));
    let (saves, trips) = (store.saves.load(Ordering::SeqCst), store.trips.load(Ordering::SeqCst));
    println!("{saves} steps and 400 completions in {trips} trips");
    assert_eq!(saves, 1200);
    assert!(trips < 100, "{trips} trips for 1,600 settlements");
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_and_used_once() {
    async fn run(cx: &Context, name: impl Into<StepName>) -> String {
        match cx.step(name, async |_| Ok(1)).await {
            Ok(_) => String::new(),
            Err(failure) => failure.to_string(),
        }
    }
    let Claimed::Acquired(lease) =
        MemoryStore::new().claim_one(claim_request(1, Duration::from_secs(9))).await.unwrap()
    else {
        panic!()
    };
    let cx = Context::new(lease, CancellationToken::new());
    assert_eq!(run(&cx, "charge").await, "");
    assert_eq!(
        run(&cx, "charge").await,
        "step \"charge\" was begun twice in one run: give each step a name of its own"
    );
    for (bad, says) in [("", "is empty"), ("a/b", "`/`"), ("a\n", "control"), (&"x".repeat(101), "101 bytes")]
    {
        let failure = run(&cx, bad).await;
        assert!(failure.contains(says), "{failure}");
    }
    let failed = cx.step("ship", async |_| Err::<(), _>(Failure::from("away"))).await.unwrap_err();
    assert_eq!(
        (failed.to_string(), run(&cx, "ship").await),
        ("step \"ship\": away".into(), String::new()),
        "it may run again"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outcome_of_another_version_or_type_is_an_error_that_names_the_step() {
    let store = MemoryStore::new();
    let Claimed::Acquired(first) = store.claim_one(claim_request(1, Duration::from_secs(1))).await.unwrap()
    else {
        panic!()
    };
    // A journal of a step `charge` of version 1 with the outcome `"ch_1"`, and one of an unknown format.
    for (progress, says) in [
        (&b"\x01\x06charge\x01\x06\"ch_1\""[..], vec!["step \"charge\"", "version 1", "version 0"]),
        (b"\x01\x06charge\x00\x06\"ch_1\"", vec!["step \"charge\"", "not readable", "expected u64"]),
        (b"\x09\x06charge\x00\x06\"ch_1\"         ", vec!["step \"charge\"", "format 9"]),
    ] {
        let save = Settle::Save { progress: [progress, &[]].concat().into() };
        assert_eq!(store.settle_one(Settlement::new(&first, save)).await.unwrap(), Settled::Yes);
        let again = ClaimRequest { token: first.token, ..claim_request(1, Duration::from_secs(1)) };
        let Claimed::Acquired(lease) = store.claim_one(again).await.unwrap() else { panic!() };
        let cx = Context::new(lease, CancellationToken::new());
        let failure = cx
            .step("charge", async |_| -> std::result::Result<u64, Failure> { panic!("it runs") })
            .await
            .unwrap_err();
        assert!(matches!(failure, Failure::Retry(_)), "no payload is given up for it: {failure:?}");
        let text = failure.to_string();
        assert!(says.iter().all(|says| text.contains(says)), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_taken_over_records_no_step() {
    let store = MemoryStore::new();
    let taker = store.clone();
    let saved = Arc::new(Mutex::new(Vec::new()));
    let seen = saved.clone();
    let handler = move |cx: Context, _: u64| {
        let (store, seen) = (taker.clone(), seen.clone());
        async move {
            cx.step("first", async |_| Ok(())).await?;
            let stalls = cx.attempt() == 1;
            let second = cx.step("second", async |_| {
                if stalls {
                    // The lease is over, and somebody else has claimed the message, before this worker goes on.
                    let released = Settle::Release {
                        attempt: ackonce::store::Attempt::Counts,
                        window: Duration::from_secs(99),
                        not_before: Duration::ZERO,
                    };
                    store.settle_one(Settlement::new(cx.lease(), released)).await.unwrap();
                    let request =
                        ClaimRequest { key: cx.key().clone(), ..claim_request(1, Duration::from_millis(50)) };
                    assert!(matches!(store.claim_one(request).await.unwrap(), Claimed::Acquired(_)));
                }
                Ok(())
            });
            let second = second.await;
            seen.lock()
                .unwrap()
                .push((stalls, second.as_ref().err().map(|failure| matches!(failure, Failure::Fenced))));
            second
        }
    };
    let runner = runner(store.clone(), handler, settings());
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(*saved.lock().unwrap(), [(true, Some(true)), (false, None)]);
    assert_eq!(
        (runner.counts().step, runner.counts().step_recorded),
        (2, 1),
        "`first` is kept over the take-over"
    );
}

fn note() -> ackonce::store::Note {
    ackonce::store::Note { actor: "test".into(), reason: "test".into() }
}

#[tokio::test(start_paused = true)]
async fn a_step_dropped_midway_leaves_an_unknown_outcome() {
    let handler = |cx: Context, _: u64| async move {
        let hangs =
            cx.step("charge", async |_| std::future::pending::<std::result::Result<(), Failure>>().await);
        tokio::time::timeout(Duration::from_secs(1), hangs).await??;
        Ok::<(), Failure>(())
    };
    let store = MemoryStore::new();
    let runner = runner(store.clone(), handler, settings().with_on_unknown(OnUnknown::Park));
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Buried);
    let record = store.look(&scope().key("1").unwrap()).await.unwrap().unwrap().record;
    let reason = record.reason.unwrap();
    assert!(reason.starts_with("outcome unknown: step \"charge\" was dropped midway: deadline"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_buries_and_a_redrive_runs_that_step_again() {
    let (store, runs) = (MemoryStore::new(), Runs::default());
    let noted = runs.clone();
    let handler = move |cx: Context, _: u64| {
        let runs = noted.clone();
        async move {
            cx.step("charge", async |_| {
                runs.note("charge");
                Ok(())
            })
            .await?;
            cx.step("ship", async |_| {
                runs.note("ship");
                Err::<(), _>(Failure::permanent("no such street"))
            })
            .await
        }
    };
    let runner = runner(store.clone(), handler, settings());
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Buried);
    let key = scope().key("1").unwrap();
    let record = store.look(&key).await.unwrap().unwrap().record;
    assert_eq!(record.reason.as_deref(), Some("step \"ship\": no such street"));
    let steps: Vec<_> = record.steps().unwrap().into_iter().map(|step| (step.name, step.outcome)).collect();
    assert_eq!(steps, [("charge".to_owned(), "null".into())]);
    store.redrive(RecordTarget::Key(&key), &note()).await.unwrap();
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Buried);
    assert_eq!(runs.taken(), ["charge", "ship", "ship"]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_kept_buries_the_message() {
    let handler = |cx: Context, n: u64| async move {
        match n {
            1 => drop(cx.step("long", async |_| Ok("x".repeat(MAX_STEP_LEN))).await?),
            2 => drop(cx.step("nan", async |_| Ok(f64::NAN)).await?),
            _ => {
                for n in 0..40 {
                    cx.step(format!("step {n}"), async |_| Ok("x".repeat(MAX_STEP_LEN - 2))).await?;
                }
            }
        }
        Ok::<(), Failure>(())
    };
    let store = MemoryStore::new();
    let runner = runner(store.clone(), handler, settings());
    for (n, says) in [
        (1, "step \"long\": its outcome has 65538 bytes"),
        (2, "step \"nan\""),
        (3, "step \"step 15\": the steps of its message"),
    ] {
        assert_eq!(runner.process(job(n)).await.unwrap().how(), SettledAs::Buried);
        let record = store.look(&scope().key(n.to_string()).unwrap()).await.unwrap().unwrap().record;
        let reason = record.reason.unwrap();
        assert!(reason.starts_with(says), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_a_target_asks_for_holds_from_within_a_step() {
    let began = tokio::time::Instant::now();
    let handler = |cx: Context, _: u64| async move {
        let first = cx.attempt() == 1;
        cx.step("charge", async |_| match first {
            true => Err(Failure::Retry("429".into()).not_before(Duration::from_secs(30))),
            false => Ok(()),
        })
        .await
    };
    let _receipt = runner(MemoryStore::new(), handler, settings()).process(job(1)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_runs_again_has_no_steps() {
    let said = Arc::new(Mutex::new(String::new()));
    let says = said.clone();
    let handler = AtMostOnce(move |cx: Context, _: u64| {
        let says = says.clone();
        async move {
            *says.lock().unwrap() = cx.step("a", async |_| Ok(())).await.unwrap_err().to_string();
            Ok::<(), Failure>(())
        }
    });
    let _receipt = runner(MemoryStore::new(), handler, settings()).process(job(1)).await.unwrap();
    assert!(said.lock().unwrap().contains("class at-most-once"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for_and_no_step_runs_twice() {
    let store = common::Scripted::default();
    let faults = [common::Fault::ErrorAfter, common::Fault::ErrorBefore, common::Fault::ErrorAfter];
    store.settles.lock().unwrap().extend(faults);
    let runs = Runs::default();
    let noted = runs.clone();
    let handler = move |cx: Context, _: u64| {
        let runs = noted.clone();
        async move {
            for name in ["a", "b"] {
                cx.step(name, async |_| {
                    runs.note(name);
                    Ok(())
                })
                .await?;
            }
            Ok::<(), Failure>(())
        }
    };
    let runner = runner(store, handler, settings());
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runs.taken(), ["a", "b"]);
    assert_eq!(runner.counts().store_unavailable, 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_goes_back_to_its_sender_keeps_its_steps() {
    let (runs, failing) = (Runs::default(), Arc::new(AtomicUsize::new(1)));
    let noted = runs.clone();
    let handler = move |cx: Context, _: u64| {
        let (runs, failing) = (noted.clone(), failing.clone());
        async move {
            cx.step("charge", async |_| {
                runs.note("charge");
                Ok(())
            })
            .await?;
            match failing.swap(0, Ordering::SeqCst) {
                0 => Ok(()),
                _ => Err(Failure::infrastructure("the carrier is away")),
            }
        }
    };
    let runner =
        runner(MemoryStore::new(), handler, settings().with_on_failure(ackonce::OnFailure::HandBack));
    assert!(runner.process(job(1)).await.is_err());
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runs.taken(), ["charge"]);
}
