//! Newest wins: an older version of an entity than one that took effect is not run.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Delivery, Identify, Job, NoDeadLetters, RecordOnly, SettledAs};
use ackonce::store::{
    ClaimRequest, Claimed, DeduplicatorExt, Description, Filter, Inspect, Note, Query, RecordTarget, Settle,
    Settled, Settlement, State,
};
use ackonce::{
    Answer, AtMostOnce, Backoff, Batch, Context, Deduplicator, EntityVersion, Error, ErrorKind, Failure,
    Handler, IdSource, Item, MemoryStore, Newest, OnUnknown, Runner, Settings, VersionOrder, Versions,
};
use async_trait::async_trait;
use common::{Late, claim_request, scope};
use proptest::prelude::*;
use tokio::time::Instant;

/// A change of an account.
#[derive(Debug, Clone)]
struct Change {
    account: &'static str,
    version: i64,
}

struct Arrived(Change);

impl Delivery for Arrived {
    type Message = Change;
    fn message(&self) -> Change {
        self.0.clone()
    }
}

fn job(id: u64, account: &'static str, version: i64) -> Job<Arrived> {
    let key = scope().key(id.to_string()).unwrap();
    Job::new(key, Arrived(Change { account, version }))
}

fn version_of(change: &Change) -> Result<EntityVersion, Failure> {
    Ok(EntityVersion::integer(change.account, change.version))
}

/// The versions that took effect, in order.
type Effects = Arc<Mutex<Vec<(&'static str, i64)>>>;

fn noting(effects: &Effects) -> impl Handler<Change> {
    let effects = effects.clone();
    Newest::new(version_of, move |_: Context, change: Change| {
        let effects = effects.clone();
        async move {
            effects.lock().unwrap().push((change.account, change.version));
            Ok::<(), Failure>(())
        }
    })
}

fn settings() -> Settings {
    common::settings().with_backoff(Backoff { min: Duration::from_millis(5), max: Duration::from_millis(50) })
}

fn runner<H: Handler<Change>>(store: &MemoryStore, handler: H) -> Runner<Arrived, H> {
    Runner::with(Arc::new(store.clone()), &scope(), handler, settings(), Arc::new(RecordOnly)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_older_version_is_stale_and_counted_apart() {
    let (store, effects) = (MemoryStore::new(), Effects::default());
    let runner = runner(&store, noting(&effects));
    let mut how = Vec::new();
    for (id, account, version) in
        [(1, "a", 2), (2, "a", 1), (3, "b", 1), (4, "a", 3), (5, "a", 3), (2, "a", 1)]
    {
        how.push(runner.process(job(id, account, version)).await.unwrap().how());
    }
    assert!(matches!(how.pop(), Some(SettledAs::Duplicate { .. })), "a stale message is settled");
    let (run, stale) = (SettledAs::Run, SettledAs::Stale);
    assert_eq!(how, [run, stale, run, run, stale], "the second message of a version is stale, too");
    assert_eq!(*effects.lock().unwrap(), [("a", 2), ("b", 1), ("a", 3)]);
    let counts = runner.counts();
    assert_eq!((counts.completed, counts.stale, counts.duplicate, counts.delivered), (3, 2, 1, 6));
    let page = store
        .list(&Query {
            filter: Filter { state: Some(State::Released), ..Filter::default() },
            limit: 9,
            after: None,
        })
        .await
        .unwrap();
    assert_eq!(page.entries.len(), 2, "a record for each entity");
    assert!(page.entries.iter().all(|entry| entry.record.attempt == 0), "its claims are no attempts");
}

#[tokio::test(start_paused = true)]
async fn versions_of_one_entity_run_one_after_another() {
    let (store, running) = (MemoryStore::new(), Arc::new(Mutex::new(0)));
    let seen = running.clone();
    let handler = Newest::new(version_of, move |cx: Context, _: Change| {
        let seen = seen.clone();
        async move {
            let now = *seen.lock().unwrap() + 1;
            *seen.lock().unwrap() = now;
            assert_eq!(now, 1, "two versions run at once");
            assert!(cx.entity_fence().is_some());
            tokio::time::sleep(Duration::from_millis(20)).await;
            *seen.lock().unwrap() -= 1;
            Ok::<(), Failure>(())
        }
    });
    let runner = runner(&store, handler);
    let jobs = (1..=8).map(|n| runner.process(job(n, "a", i64::try_from(n).unwrap())));
    let ended = futures_util::future::join_all(jobs).await;
    assert!(ended.iter().all(Result::is_ok));
    let counts = runner.counts();
    assert_eq!(counts.completed + counts.stale, 8);
    assert!(counts.retried > 0 && counts.past_attempts == 0, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_failed_took_no_effect() {
    let (store, effects) = (MemoryStore::new(), Effects::default());
    let noted = effects.clone();
    let handler = Newest::new(version_of, move |_: Context, change: Change| {
        let effects = noted.clone();
        async move {
            if change.version == 9 {
                return Err(Failure::permanent("no such account"));
            }
            effects.lock().unwrap().push((change.account, change.version));
            Ok(())
        }
    });
    let runner = runner(&store, handler);
    let mut how = Vec::new();
    for (id, version) in [(1, 9), (2, 3), (3, 2)] {
        how.push(runner.process(job(id, "a", version)).await.unwrap().how());
    }
    assert_eq!(how, [SettledAs::Buried, SettledAs::Run, SettledAs::Stale]);
    assert_eq!(*effects.lock().unwrap(), [("a", 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_version_and_the_message_is_no_gap() {
    let (store, effects) = (MemoryStore::new(), Effects::default());
    let trouble = Trouble { store: store.clone(), of: Arc::new(Mutex::new(vec![Of::Completion])) };
    let dies = troubled(trouble, settings(), noting(&effects));
    let dying = dies.process(job(1, "a", 5));
    assert!(tokio::time::timeout(Duration::from_secs(1), dying).await.is_err(), "it dies before its record");
    assert_eq!(effects.lock().unwrap().len(), 1);
    let runner = runner(&store, noting(&effects));
    assert_eq!(runner.process(job(1, "a", 5)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(effects.lock().unwrap().len(), 1, "its version took effect: it is recorded and not run");
    assert_eq!(runner.counts().stale, 0, "it is no older version");
}

/// The in-memory store, with troubles for its settlements, the last one first.
#[derive(Debug)]
struct Trouble {
    store: MemoryStore,
    of: Arc<Mutex<Vec<Of>>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    /// Completions are never answered.
    Completion,
    /// A trip with settlements of an entity finds its record locked: those of other records are applied.
    Lock,
    /// A trip with settlements of an entity is applied, and its answer is lost.
    Answer,
}

#[async_trait]
impl Deduplicator for Trouble {
    async fn claim(&self, requests: &[ClaimRequest]) -> ackonce::Result<Vec<Claimed>> {
        self.store.claim(requests).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> ackonce::Result<Vec<Settled>> {
        let is_entity = |s: &&Settlement| s.key.scope().name() != scope().name();
        let next = self.of.lock().unwrap().last().copied();
        match next {
            Some(Of::Completion)
                if settlements.iter().any(|s| matches!(s.action, Settle::Complete { .. })) =>
            {
                std::future::pending().await
            }
            Some(Of::Lock | Of::Answer) if settlements.iter().any(|s| is_entity(&s)) => {
                self.of.lock().unwrap().pop();
                let is_applied = |s: &&Settlement| next == Some(Of::Answer) || !is_entity(s);
                let applied: Vec<_> = settlements.iter().filter(is_applied).cloned().collect();
                self.store.settle(&applied).await?;
                let kind = if next == Some(Of::Lock) { ErrorKind::Locked } else { ErrorKind::Timeout };
                Err(Error::new(kind, "scripted"))
            }
            _ => self.store.settle(settlements).await,
        }
    }
    fn describe(&self) -> Description {
        self.store.describe()
    }
}

fn troubled<H: Handler<Change>>(store: Trouble, settings: Settings, handler: H) -> Runner<Arrived, H> {
    Runner::with(Arc::new(store), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap()
}

/// The lock ends between the save of the version and the release of its entity.
#[tokio::test(start_paused = true)]
async fn a_version_whose_record_is_locked_runs_once() {
    for locked in 1..=4 {
        let (store, effects) = (MemoryStore::new(), Effects::default());
        let trouble = Trouble { store: store.clone(), of: Arc::new(Mutex::new(vec![Of::Lock; locked])) };
        let runner = troubled(trouble, settings(), noting(&effects));
        assert_eq!(runner.process(job(1, "a", 5)).await.unwrap().how(), SettledAs::Run);
        assert_eq!(runner.counts().run, 1, "locked {locked} times");
        assert_eq!(runner.process(job(2, "a", 4)).await.unwrap().how(), SettledAs::Stale);
        assert_eq!(*effects.lock().unwrap(), [("a", 5)], "locked {locked} times");
    }
}

/// Save and release are sent again, and the save finds its claim released: by its own copy.
#[tokio::test(start_paused = true)]
async fn a_version_whose_saving_is_answered_late_is_not_unknown() {
    let effects = Effects::default();
    let trouble = Trouble { store: MemoryStore::new(), of: Arc::new(Mutex::new(vec![Of::Answer])) };
    let runner = troubled(trouble, settings().with_on_unknown(OnUnknown::Park), noting(&effects));
    assert_eq!(runner.process(job(1, "a", 5)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runner.counts().run, 1);
}

/// A redrive or a forgotten record is an order to run again, unless a newer version took effect.
#[tokio::test(start_paused = true)]
async fn a_redriven_message_takes_effect_again() {
    let (store, effects) = (MemoryStore::new(), Effects::default());
    let runner = runner(&store, noting(&effects));
    let (key, note) =
        (scope().key("1").unwrap(), Note { actor: "an operator".into(), reason: "a test".into() });
    let target = || RecordTarget::Key(&key);
    assert_eq!(runner.process(job(1, "a", 5)).await.unwrap().how(), SettledAs::Run);
    store.redrive(target(), &note).await.unwrap();
    assert_eq!(runner.process(job(1, "a", 5)).await.unwrap().how(), SettledAs::Run);
    store.forget(target(), &note).await.unwrap();
    assert_eq!(runner.process(job(1, "a", 5)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(*effects.lock().unwrap(), [("a", 5); 3], "at first, redriven and forgotten");
    assert_eq!(runner.process(job(2, "a", 5)).await.unwrap().how(), SettledAs::Stale, "another message");
    assert_eq!(runner.process(job(3, "a", 6)).await.unwrap().how(), SettledAs::Run);
    store.redrive(target(), &note).await.unwrap();
    assert_eq!(runner.process(job(1, "a", 5)).await.unwrap().how(), SettledAs::Stale);
    assert_eq!(effects.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_batch_runs_its_newest_and_the_rest_later() {
    let (store, effects) = (MemoryStore::new(), Effects::default());
    let noted = effects.clone();
    let handler = Newest::new(
        version_of,
        Batch(move |items: Vec<Item<Change>>| {
            let effects = noted.clone();
            async move {
                items.iter().for_each(|item| {
                    effects.lock().unwrap().push((item.message.account, item.message.version))
                });
                items.iter().map(|_| Ok(().into())).collect::<Vec<Answer>>()
            }
        }),
    );
    let runner = runner(&store, handler);
    let (feed, input) = tokio::sync::mpsc::channel(1);
    let jobs = [(1, "a", 1), (2, "b", 7), (3, "a", 2), (4, "c", 1), (5, "a", 0)];
    let ordered = jobs.map(|(id, account, version)| ackonce::adapter::Ordered {
        lane: None,
        job: job(id, account, version),
    });
    feed.send(ordered.into_iter().collect()).await.unwrap();
    drop(feed);
    runner.consume(input, ackonce::adapter::Mode::Batches, |_| {}).await.unwrap();
    let effects = effects.lock().unwrap();
    assert_eq!(effects.iter().rfind(|(account, _)| *account == "a"), Some(&("a", 2)), "{effects:?}");
    assert_eq!((runner.counts().completed + runner.counts().stale, runner.counts().handed_back), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn versions_of_two_kinds_have_no_order() {
    let store = MemoryStore::new();
    let by_time = Newest::new(
        |_: &Change| Ok(EntityVersion::rfc3339("a", "2026-11-30T08:00:00Z")?),
        |_: Context, _: Change| async { Ok::<(), Failure>(()) },
    );
    let _receipt = runner(&store, by_time).process(job(1, "a", 1)).await.unwrap();
    let settings = settings().with_attempts(1);
    let numbers = Runner::with(
        Arc::new(store.clone()),
        &scope(),
        noting(&Effects::default()),
        settings,
        Arc::new(RecordOnly),
    )
    .unwrap();
    assert_eq!(numbers.process(job(2, "a", 1)).await.unwrap().how(), SettledAs::Buried);
    let record = store.look(&scope().key("2").unwrap()).await.unwrap().unwrap().record;
    let reason = record.reason.unwrap();
    assert!(reason.contains("two kinds") && reason.contains("1796025600.000000000000000000 s"), "{reason}");
}

#[tokio::test]
async fn a_class_that_loses_what_waits_is_refused() {
    let handler =
        Newest::new(version_of, AtMostOnce(|_: Context, _: Change| async { Ok::<(), Failure>(()) }));
    let store = Arc::new(MemoryStore::new());
    let made = Runner::<Arrived, _>::with(store, &scope(), handler, settings(), Arc::new(NoDeadLetters));
    let error = made.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("Newest around AtMostOnce"), "{error}");
}

struct Parts(Option<&'static [u8]>, &'static str);

impl Identify for Parts {
    fn headers<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(self.0.into_iter().filter(move |_| name == "version"))
    }
    fn key(&self) -> Option<&[u8]> {
        None
    }
    fn payload(&self) -> Option<&[u8]> {
        Some(self.1.as_bytes())
    }
    fn coordinates(&self) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn entity_and_version_are_found_or_refused_by_name() {
    let (entity, header) = (IdSource::Json("/account".into()), IdSource::Header("version".into()));
    let versions = Versions::new(entity.clone(), header);
    let payload = r#"{"account":"a","at":"2026-11-30T08:00:00Z"}"#;
    let found = versions.find(&Parts(Some(b"-12"), payload)).unwrap();
    assert_eq!(found, EntityVersion::integer("a", -12));
    let says = |versions: &Versions, parts: Parts| versions.find(&parts).unwrap_err().to_string();
    assert_eq!(
        says(&versions, Parts(None, payload)),
        "the version of the message: no message ID: none of header \"version\" is present"
    );
    assert_eq!(says(&versions, Parts(Some(b"1.5"), payload)), "the version \"1.5\" is not a whole number");
    let times = Versions::new(entity, IdSource::Json("/at".into())).with_order(VersionOrder::Rfc3339);
    assert_eq!(
        times.find(&Parts(None, payload)).unwrap(),
        EntityVersion::rfc3339("a", "2026-11-30T08:00:00Z").unwrap()
    );
    assert!(says(&times, Parts(None, r#"{"account":"a","at":"today"}"#)).contains("RFC 3339"));
}

/// Nothing of it may begin: the entity's next version may run elsewhere, and the first poll of a handler may be a payment.
#[tokio::test(start_paused = true)]
async fn a_claim_of_an_entity_that_is_answered_late_starts_no_handler() {
    let lease = Duration::from_secs(6);
    // The first claim is that of the message.
    let (late, began) = (Arc::new(Late::new(1, lease * 5 / 6)), Instant::now());
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = times.clone();
    let handler = Newest::new(version_of, move |_: Context, _: Change| {
        noted.lock().unwrap().push(began.elapsed());
        async { Ok::<(), Failure>(()) }
    });
    let settings = settings().with_lease(lease);
    let runner =
        Runner::with_heartbeat_task(late, &scope(), handler, settings, Arc::new(RecordOnly)).unwrap();
    let _receipt = runner.process(job(1, "a", 1)).await.unwrap();
    let times = times.lock().unwrap();
    assert!(times.len() == 1 && times[0] >= lease, "{times:?}: the entity is free after its lease");
}

#[tokio::test(start_paused = true)]
async fn an_entity_whose_worker_died_is_free_after_its_lease() {
    let (store, effects) = (MemoryStore::new(), Effects::default());
    let entity = scope().beside("newest").key("a").unwrap();
    let request = ClaimRequest { key: entity, ..claim_request(1, Duration::from_secs(10)) };
    let Claimed::Acquired(dead) = store.claim_one(request).await.unwrap() else { panic!() };
    let runner = runner(&store, noting(&effects));
    assert_eq!(runner.process(job(1, "a", 1)).await.unwrap().how(), SettledAs::Run);
    let late = Settle::Save { progress: "of the dead".into() };
    assert_eq!(store.settle_one(Settlement::new(&dead, late)).await.unwrap(), Settled::Lost);
    assert_eq!(runner.process(job(2, "a", 0)).await.unwrap().how(), SettledAs::Stale);
}

/// Versions in any order, some of them twice, each by a worker that may die at any await and begin again.
async fn ends_at_the_newest(order: Vec<(u64, usize)>, count: u64) {
    let (store, target) = (MemoryStore::new(), Arc::new(Mutex::new(0)));
    let runners: Vec<_> = (0..2)
        .map(|_| {
            let target = target.clone();
            let handler = Newest::new(version_of, move |_: Context, change: Change| {
                let target = target.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(u64::try_from(change.version % 3).unwrap()))
                        .await;
                    *target.lock().unwrap() = change.version;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Ok::<(), Failure>(())
                }
            });
            Runner::with(Arc::new(store.clone()), &scope(), handler, settings(), Arc::new(NoDeadLetters))
                .unwrap()
        })
        .collect();
    let all = order.into_iter().enumerate().map(|(n, (version, lives))| {
        let runner = runners[n % 2].clone();
        tokio::spawn(async move {
            let version = version + 1;
            // Dies after that many milliseconds, and again, until it is let go on.
            for life in 0..lives {
                let once = runner.process(job(version, "a", i64::try_from(version).unwrap()));
                let _ = tokio::time::timeout(Duration::from_millis(life as u64), once).await;
            }
            runner.process(job(version, "a", i64::try_from(version).unwrap())).await.unwrap().how()
        })
    });
    let all: Vec<_> = all.collect();
    for ended in all {
        ended.await.unwrap();
    }
    assert_eq!(u64::try_from(*target.lock().unwrap()).unwrap(), count, "the entity ends at the newest");
}

fn orders() -> impl Strategy<Value = Vec<(u64, usize)>> {
    let versions: Vec<u64> = (0..6).chain([2, 4]).collect();
    (Just(versions).prop_shuffle(), prop::collection::vec(0..5_usize, 8))
        .prop_map(|(versions, lives)| versions.into_iter().zip(lives).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_order_of_versions_with_kills_ends_at_the_newest(order in orders()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(ends_at_the_newest(order, 6));
    }
}
