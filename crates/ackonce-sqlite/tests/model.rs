//! In random histories, two stores on one file answer as the protocol does over a plain map:
//! across generations that are opened, sealed and dropped, and with windows of any length side by side.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use ackonce::Deduplicator;
use ackonce::protocol::{self, Row};
use ackonce::store::{
    AdminOutcome, Attempt, ClaimRequest, Claimed, Filter, Fingerprint, Inspect, Lease, Note, Query,
    RecordTarget, Settle, Settled, Settlement, Token,
};
use ackonce_sqlite::{SqliteStore, Sweep};
use common::{HOUR, Place, TestClock, place, request};
use proptest::prelude::*;

/// Few, so that they meet again.
const KEYS: u8 = 12;
/// As few as a generation may hold: filling one is a step like any other.
const GENERATION: u32 = 128;

#[derive(Debug, Clone)]
enum Step {
    /// Of those keys, with that lease and window; by the first or the second store.
    Claim(Vec<u8>, Duration, Duration, Option<u8>),
    /// Of the leases given out so far, those; an old one too.
    Settle(Vec<(prop::sample::Index, Action)>),
    Forget(u8),
    Redrive(u8),
    /// So many new keys, done with that window.
    Fill(u32, Duration),
    Pass(Duration),
    Sweep,
    Reopen,
}

#[derive(Debug, Clone)]
enum Action {
    Complete(Duration, Option<u8>),
    Release(Attempt, Duration, Duration),
    Extend(Duration, Duration),
    Bury(Duration),
    Save(u8),
}

fn time() -> impl Strategy<Value = Duration> {
    let times =
        [0, 1, 50_000, 1_000_000, 60_000_000, 61_000_000, 600_000_000, 3_600_000_000, 604_800_000_000];
    prop_oneof![4 => prop::sample::select(times.to_vec()), 1 => 0..700_000_000_u64]
        .prop_map(Duration::from_micros)
}

fn action() -> impl Strategy<Value = Action> {
    let attempt = prop_oneof![Just(Attempt::Counts), Just(Attempt::Refunded)];
    prop_oneof![
        6 => (time(), prop::option::weighted(0.2, any::<u8>())).prop_map(|(w, o)| Action::Complete(w, o)),
        1 => (attempt, time(), time()).prop_map(|(a, w, n)| Action::Release(a, w, n)),
        1 => (time(), time()).prop_map(|(l, w)| Action::Extend(l, w)),
        1 => time().prop_map(Action::Bury),
        1 => (0..9_u8).prop_map(Action::Save),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let keys = prop::collection::vec(0..KEYS, 1..6);
    let settled = prop::collection::vec((any::<prop::sample::Index>(), action()), 1..6);
    prop_oneof![
        8 => (keys, time(), time(), prop::option::weighted(0.3, 0..2_u8))
            .prop_map(|(k, l, w, f)| Step::Claim(k, l, w, f)),
        8 => settled.prop_map(Step::Settle),
        1 => (0..KEYS).prop_map(Step::Forget),
        1 => (0..KEYS).prop_map(Step::Redrive),
        2 => (1..200_u32, time()).prop_map(|(n, w)| Step::Fill(n, w)),
        4 => time().prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

/// The protocol's answer for one row.
type Rule<R, A> = fn(Option<&Row>, &R, u64) -> (A, Option<Row>);

struct World {
    place: Place,
    clock: TestClock,
    /// One sweeps as it goes, the other does not; they take turns.
    stores: [SqliteStore; 2],
    turn: usize,
    model: HashMap<String, Row>,
    leases: Vec<Lease>,
    fillers: u32,
}

impl World {
    fn new() -> Self {
        let (place, clock) = (place(), TestClock::new());
        let stores = [Sweep::Manual, Sweep::Automatic].map(|sweep| open(&place, &clock, sweep));
        Self { place, clock, stores, turn: 0, model: HashMap::new(), leases: Vec::new(), fillers: 0 }
    }

    fn store(&mut self) -> SqliteStore {
        self.turn += 1;
        self.stores[self.turn % 2].clone()
    }

    fn decide<R, A>(&mut self, id: String, request: &R, step: Rule<R, A>) -> A {
        let (answer, change) = step(self.model.get(&id), request, self.clock.micros());
        if let Some(row) = change {
            self.model.insert(id, row);
        }
        answer
    }

    async fn claim(&mut self, requests: &[ClaimRequest]) {
        let answers = self.store().claim(requests).await.unwrap();
        for (request, answer) in requests.iter().zip(answers) {
            let expected = self.decide(id(&request.key), request, protocol::claim);
            assert_eq!(answer, expected, "{request:?}");
            if let Claimed::Acquired(lease) = answer {
                self.leases.push(lease);
            }
        }
    }

    async fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let answers = self.store().settle(settlements).await.unwrap();
        for (settlement, answer) in settlements.iter().zip(&answers) {
            let expected = self.decide(id(&settlement.key), settlement, protocol::settle);
            assert_eq!(*answer, expected, "{settlement:?}");
        }
        answers
    }

    async fn fill(&mut self, count: u32, window: Duration) {
        let ids = self.fillers..self.fillers + count;
        self.fillers += count;
        let requests: Vec<_> = ids.map(|n| request(format!("filler {n}"))).collect();
        self.claim(&requests).await;
        let leases = self.leases.split_off(self.leases.len() - requests.len());
        let done = |lease| Settlement::new(lease, Settle::Complete { window, outcome: None });
        let settled = self.settle(&leases.iter().map(done).collect::<Vec<_>>()).await;
        assert!(settled.iter().all(|s| *s == Settled::Yes));
    }

    async fn tend(&mut self, key: u8, redrive: bool) {
        let (store, now, id) = (self.store(), self.clock.micros(), format!("key {key}"));
        let note = Note { actor: "test".into(), reason: "none".into() };
        let key = common::key(&id);
        let row = self.model.get(&id).cloned();
        let (answer, change) = match (protocol::tendable(row.as_ref(), now), row) {
            (Some(true), Some(row)) if redrive => (AdminOutcome::Yes, protocol::redriven(&row, now)),
            (Some(true), Some(row)) => (
                AdminOutcome::Yes,
                Some(Row { expires: 0, fingerprint: None, outcome: None, reason: None, ..row }),
            ),
            (Some(false), _) => (AdminOutcome::InFlight, None),
            _ => (AdminOutcome::Nothing, None),
        };
        let answer =
            if change.is_none() && answer == AdminOutcome::Yes { AdminOutcome::Nothing } else { answer };
        let tended = match redrive {
            true => store.redrive(RecordTarget::Key(&key), &note).await.unwrap(),
            false => store.forget(RecordTarget::Key(&key), &note).await.unwrap(),
        };
        assert_eq!(tended, answer, "{id}");
        if let Some(row) = change {
            self.model.insert(id.clone(), row);
            // A brief record keeps only a part of its token, so a redriven message no longer knows its own.
            self.leases.retain(|lease| lease.key != key);
        }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Claim(keys, lease, window, print) => {
                // A store may keep 8 bytes; the rest of these is zeros.
                let fingerprint =
                    print.map(|n| Fingerprint([n, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0]));
                let again = |id: &String| {
                    // Half of the keys are claimed again by the attempt that has them, as after a lost reply.
                    let last = self.leases.iter().rfind(|l| l.key.id() == id.as_bytes());
                    last.filter(|l| l.token.0[0] % 2 == 0).map_or_else(Token::random, |l| l.token)
                };
                let requests: Vec<_> = keys
                    .into_iter()
                    .map(|n| format!("key {n}"))
                    .map(|id| ClaimRequest { token: again(&id), lease, window, fingerprint, ..request(id) })
                    .collect();
                self.claim(&requests).await;
            }
            Step::Settle(which) => {
                if self.leases.is_empty() {
                    return;
                }
                let settle = |(at, action): (prop::sample::Index, Action)| {
                    Settlement::new(at.get(&self.leases), settle_of(action))
                };
                let settlements: Vec<_> = which.into_iter().map(settle).collect();
                self.settle(&settlements).await;
            }
            Step::Forget(key) => self.tend(key, false).await,
            Step::Redrive(key) => self.tend(key, true).await,
            Step::Fill(count, window) => self.fill(count, window).await,
            Step::Pass(time) => self.clock.advance(time),
            Step::Sweep => drop(self.store().sweep().await.unwrap()),
            Step::Reopen => {
                let (which, sweep) = (self.turn % 2, [Sweep::Manual, Sweep::Automatic][self.turn % 2]);
                self.stores[which] = open(&self.place, &self.clock, sweep);
            }
        }
    }

    /// Compares the records, as inspection shows them, with the map.
    async fn compare(&mut self) {
        // Past every fence: a record with a higher one stays, expired or not.
        self.clock.advance(Duration::from_millis(1));
        let now = self.clock.micros();
        let live = self.model.iter().filter(|(_, row)| now < row.expires);
        let expected: BTreeMap<_, _> = live.map(|(id, row)| (id.clone(), row.record(now))).collect();
        let store = self.store();
        for n in 0..KEYS {
            let id = format!("key {n}");
            assert_eq!(
                store.look(&common::key(&id)).await.unwrap().map(|entry| entry.record).as_ref(),
                expected.get(&id),
                "{id}"
            );
        }
        let all = Query { filter: Filter::default(), limit: usize::MAX, after: None };
        let listed = store.list(&all).await.unwrap().entries;
        let names: HashSet<_> = listed.iter().map(|e| e.digest.clone()).collect();
        assert_eq!((listed.len(), names.len()), (expected.len(), expected.len()));
        store.sweep().await.unwrap();
        assert_eq!(self.place.rows(), i64::try_from(expected.len()).unwrap(), "a key has one row, or none");
        let stats = store.stats().await.unwrap();
        let held = stats.claimed + stats.released + stats.done + stats.buried;
        assert_eq!(held, expected.len() as u64);
    }
}

fn open(place: &Place, clock: &TestClock, sweep: Sweep) -> SqliteStore {
    clock.of(place.config()).with_sweep(sweep).with_generation(GENERATION).open().unwrap()
}

fn id(key: &ackonce::Key) -> String {
    String::from_utf8(key.id().to_vec()).unwrap()
}

fn settle_of(action: Action) -> Settle {
    match action {
        Action::Complete(window, outcome) => {
            Settle::Complete { window, outcome: outcome.map(|n| vec![n; 9].into()) }
        }
        Action::Release(attempt, window, not_before) => Settle::Release { attempt, window, not_before },
        Action::Extend(lease, window) => Settle::Extend { lease, window },
        Action::Save(n) => Settle::Save { progress: vec![n; usize::from(n)].into() },
        Action::Bury(window) => Settle::Bury { window, reason: "no use".into() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_store_answers_as_the_protocol_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.run(step).await;
                // Everybody's first claim at a moment would otherwise be of one fence.
                world.clock.advance(Duration::from_micros(1));
            }
            world.compare().await;
        });
    }
}

#[tokio::test]
async fn a_generation_is_dropped_when_its_last_record_expires_and_no_sooner() {
    let mut world = World::new();
    world.fill(1000, HOUR).await;
    world.fill(50, Duration::from_secs(60)).await;
    let full = world.place.generations().len();
    assert!(full >= 1000 / 128, "{full}");
    world.clock.advance(HOUR - Duration::from_micros(1));
    // Each write drops one along with it.
    for _ in 0..20 {
        world.fill(1, 24 * HOUR).await;
    }
    assert_eq!(world.place.rows(), 1020, "the short ones are gone, an hour has not passed");
    world.clock.advance(Duration::from_micros(1));
    for _ in 0..2 * full {
        world.fill(1, 24 * HOUR).await;
    }
    assert!(world.place.generations().len() <= 2, "{:?}", world.place.generations());
    world.compare().await;
}
