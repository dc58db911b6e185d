//! The statements agree with the protocol: random histories, on a clock that the test moves, are
//! answered by PostgreSQL and by [`ackonce::protocol`], and every answer is compared.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::collections::HashMap;
use std::time::Duration;

use ackonce::protocol::{self, Row};
use ackonce::store::{
    AdminOutcome, Attempt, ClaimRequest, Claimed, Fingerprint, Inspect, Lease, Note, Record, RecordTarget,
    Settle, Settled, Settlement, State, Token,
};
use ackonce::{Deduplicator, Key, Scope};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio_postgres::{Client, NoTls};

use crate::connection::send;
use crate::records::Texts;
use crate::request::{ClaimParams, SettleParams};
use crate::{Names, PostgresConfig, PostgresStore, Prepare, SchemaName, Sweep, Tables};

const CLOCK: &str = "(SELECT t FROM {schema}.test_clock WHERE one)";
const KEYS: usize = 3;
/// A window that outlasts every other time of the test.
const MINUTES: u64 = 100_000_001;

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Claim(Vec<Ask>),
    Settle(Vec<Act>),
    Forget(usize),
    Redrive(usize),
    Sweep,
}

/// A claim of one of a few keys by one of a few attempts, so that repeats and rivals are frequent.
#[derive(Debug, Clone)]
struct Ask {
    key: usize,
    attempt: u8,
    lease: u64,
    window: u64,
    payload: Option<u8>,
}

#[derive(Debug, Clone)]
struct Act {
    key: usize,
    /// The index of the key's lease, counted back from the last one.
    back: usize,
    /// The offset of its fence from the true one.
    off: i8,
    action: Settle,
}

fn micros(choices: [u64; 4]) -> impl Strategy<Value = u64> {
    prop::sample::select(choices.to_vec())
}

fn settle() -> impl Strategy<Value = Settle> {
    let window = micros([0, 3, 300, MINUTES]).prop_map(Duration::from_micros);
    let lease = micros([0, 2, 20, 200]).prop_map(Duration::from_micros);
    (0..8, window, lease).prop_map(|(kind, window, lease)| match kind {
        0 => Settle::Complete { window, outcome: None },
        1 => Settle::Complete { window, outcome: Some("result".into()) },
        2 => Settle::Bury { window, reason: "a reason".into() },
        3 => Settle::Release { attempt: Attempt::Counts, window, not_before: lease },
        4 => Settle::Release { attempt: Attempt::Refunded, window, not_before: lease },
        5 => Settle::Save { progress: "half".into() },
        6 => Settle::Save { progress: "half, and \u{7f} more".into() },
        _ => Settle::Extend { lease, window },
    })
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop::option::weighted(0.3, 0..2_u8);
    let ask = (0..KEYS, 0..4_u8, micros([0, 2, 20, 200]), micros([0, 3, 30, 300]), payload)
        .prop_map(|(key, attempt, lease, window, payload)| Ask { key, attempt, lease, window, payload });
    let off = prop_oneof![8 => Just(0_i8), 1 => Just(1), 1 => Just(-1)];
    let back = prop_oneof![6 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
    let act =
        (0..KEYS, back, off, settle()).prop_map(|(key, back, off, action)| Act { key, back, off, action });
    prop_oneof![
        3 => micros([1, 2, 10, 100]).prop_map(Step::Pass),
        1 => micros([MINUTES / 2, MINUTES, MINUTES + 1, 2 * MINUTES]).prop_map(Step::Pass),
        5 => prop::collection::vec(ask, 1..4).prop_map(Step::Claim),
        4 => prop::collection::vec(act, 1..4).prop_map(Step::Settle),
        1 => (0..KEYS).prop_map(Step::Forget),
        1 => (0..KEYS).prop_map(Step::Redrive),
        1 => Just(Step::Sweep),
    ]
}

/// The store, and the model to compare it with.
struct Pair {
    store: PostgresStore,
    client: Client,
    now: u64,
    rows: HashMap<[u8; 32], Row>,
    leases: HashMap<usize, Vec<Lease>>,
    scope: Scope,
}

impl Pair {
    async fn run(&mut self, history: u64, steps: &[Step]) {
        self.scope = Scope::new(format!("history {history}")).unwrap();
        self.leases.clear();
        for step in steps {
            match step {
                Step::Pass(time) => self.now += time,
                Step::Claim(asks) => self.claim(asks).await,
                Step::Settle(acts) => self.settle(acts).await,
                Step::Forget(key) => {
                    let answer = self.store.forget(RecordTarget::Key(&self.key(*key)), &note()).await;
                    self.tended(*key, answer.unwrap(), |row, _| Some(Row { expires: 0, ..row.clone() }));
                }
                Step::Redrive(key) => {
                    let answer = self.store.redrive(RecordTarget::Key(&self.key(*key)), &note()).await;
                    self.tended(*key, answer.unwrap(), redriven);
                }
                Step::Sweep => drop(self.store.sweep().await.unwrap()),
            }
            if let Step::Pass(_) = step {
                let now = i64::try_from(self.now).unwrap();
                self.client.execute("UPDATE test_clock SET t = $1", &[&now]).await.unwrap();
            }
            for n in 0..KEYS {
                let key = self.key(n);
                let row = self.rows.get(key.digest()).filter(|row| self.now < row.expires);
                let expected = row.map(|row| ageless(row.record(self.now)));
                assert_eq!(
                    self.store.look(&key).await.unwrap().map(|entry| ageless(entry.record)),
                    expected,
                    "after {step:?}"
                );
            }
        }
    }

    fn key(&self, n: usize) -> Key {
        self.scope.key(n.to_string()).unwrap()
    }

    async fn claim(&mut self, asks: &[Ask]) {
        let request = |ask: &Ask| ClaimRequest {
            key: self.key(ask.key),
            token: Token([ask.attempt + 1; 16]),
            lease: Duration::from_micros(ask.lease),
            window: Duration::from_micros(ask.window),
            // The stored half of it.
            fingerprint: ask.payload.map(|n| Fingerprint([n, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0])),
        };
        let requests: Vec<_> = asks.iter().map(request).collect();
        let answers = self.store.claim(&requests).await.unwrap();
        for ((ask, request), answer) in asks.iter().zip(&requests).zip(answers) {
            let digest = *request.key.digest();
            let (expected, change) = protocol::claim(self.rows.get(&digest), request, self.now);
            assert_eq!(timeless(answer), timeless(expected.clone()), "{ask:?} at {}", self.now);
            self.rows.extend(change.map(|row| (digest, row)));
            if let Claimed::Acquired(lease) = expected {
                self.leases.entry(ask.key).or_default().push(lease);
            }
        }
    }

    async fn settle(&mut self, acts: &[Act]) {
        let known = |act: &Act| {
            let leases = self.leases.get(&act.key)?;
            let lease = leases.iter().rev().nth(act.back)?.clone();
            let fence = lease.fence.checked_add_signed(act.off.into()).unwrap();
            Some(Settlement { fence, ..Settlement::new(&lease, act.action.clone()) })
        };
        let settlements: Vec<_> = acts.iter().filter_map(known).collect();
        let answers = self.store.settle(&settlements).await.unwrap();
        for (settlement, answer) in settlements.iter().zip(answers) {
            let digest = *settlement.key.digest();
            let row = self.rows.get(&digest);
            let (expected, change) = protocol::settle(row, settlement, self.now);
            // The one difference: of a settled record the fence alone is kept. It is another claim's only if the
            // fence was made up, and nothing changes.
            let made_up = row.is_some_and(|row| {
                row.token != settlement.token && matches!(row.state, State::Done | State::Buried)
            });
            if made_up {
                assert_eq!((expected, change), (Settled::Lost, None));
                continue;
            }
            assert_eq!(answer, expected, "{settlement:?} at {}", self.now);
            self.rows.extend(change.map(|row| (digest, row)));
        }
    }

    fn tended(&mut self, key: usize, answer: AdminOutcome, change: fn(&Row, u64) -> Option<Row>) {
        let key = self.key(key);
        let row = self.rows.get(key.digest());
        let changed = row.and_then(|row| change(row, self.now));
        let expected = match (protocol::tendable(row, self.now), &changed) {
            (Some(true), Some(_)) => AdminOutcome::Yes,
            (Some(false), _) => AdminOutcome::InFlight,
            _ => AdminOutcome::Nothing,
        };
        assert_eq!(answer, expected);
        if expected == AdminOutcome::Yes {
            self.rows.extend(changed.map(|row| (*key.digest(), row)));
        }
    }
}

fn note() -> Note {
    Note { actor: "a test".into(), reason: "to see".into() }
}

/// A settled record has no token to keep, and gets one that no claim holds.
fn redriven(row: &Row, now: u64) -> Option<Row> {
    let redriven = protocol::redriven(row, now)?;
    let token = if row.state == State::Released { row.token } else { Token([0; 16]) };
    Some(Row { token, ..redriven })
}

/// The age is that of the fence, which runs ahead of this clock.
fn ageless(record: Record) -> Record {
    Record { age: Duration::ZERO, ..record }
}

fn timeless(answer: Claimed) -> Claimed {
    match answer {
        Claimed::Done(record) => Claimed::Done(ageless(record)),
        Claimed::Mismatch(record) => Claimed::Mismatch(ageless(record)),
        other => other,
    }
}

#[test]
fn the_statements_say_what_the_protocol_says() {
    let Some(url) = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pair = std::cell::RefCell::new(runtime.block_on(open(&url)));
    let histories = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&prop::collection::vec(step(), 10..40), |steps| {
        histories.set(histories.get() + 1);
        runtime.block_on(pair.borrow_mut().run(histories.get(), &steps));
        Ok(())
    });
    ran.unwrap_or_else(|e| panic!("{e}"));
}

async fn open(url: &str) -> Pair {
    let schema = SchemaName::new(format!("model {}", std::process::id())).unwrap();
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let config = PostgresConfig { clock: CLOCK, sweep: Sweep::Manual, ..PostgresConfig::new(url).unwrap() }
        .with_schema(schema.clone())
        .with_tables(Tables::CreateMissing);
    let store = config.connect().await.unwrap();
    let text = format!(
        "SET search_path = {quoted}; CREATE TABLE test_clock (one bool PRIMARY KEY, t int8); \
         INSERT INTO test_clock VALUES (true, 1000)",
        quoted = schema.quoted()
    );
    client.batch_execute(&text).await.unwrap();
    let scope = Scope::new("none").unwrap();
    Pair { store, client, now: 1000, rows: HashMap::new(), leases: HashMap::new(), scope }
}

/// Planning a statement takes longer than running it, so each must be planned once, for single messages, too.
#[tokio::test]
async fn a_statement_is_not_planned_for_each_message() {
    let Some(url) = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES") else { return };
    let schema = SchemaName::new(format!("plans {}", std::process::id())).unwrap();
    let config = PostgresConfig::new(&url).unwrap().with_schema(schema.clone());
    let store = config.with_tables(Tables::CreateMissing).connect().await.unwrap();
    let client = store.inner.connector.pool(1).unwrap().get().await.unwrap();
    let cache = &client.statement_cache;
    let (texts, salt) = (Texts::new(&schema), &store.inner.salt);
    let (scope, hour) = (Scope::new("plans").unwrap(), Duration::from_secs(3600));
    for n in 0..20 {
        let key = scope.key(n.to_string()).unwrap();
        let request =
            ClaimRequest { key, token: Token([1; 16]), lease: hour, window: hour, fingerprint: None };
        let asked = [&request];
        let params = ClaimParams::new(&asked, salt, Names::Keep);
        let rows = send(&client, cache, Prepare::Cached, &texts.claim(), &params.as_params()).await.unwrap();
        let answer = params.answers(&asked, &rows).unwrap().pop().unwrap().answer;
        let Claimed::Acquired(lease) = answer else { panic!("{answer:?}") };
        let settlement = Settlement::new(&lease, Settle::Complete { window: hour, outcome: None });
        let params = SettleParams::new(&[&settlement], salt, Names::Keep);
        let text = texts.settle("salt = $1");
        send(&client, cache, Prepare::Cached, &text, &params.as_params()).await.unwrap();
    }
    // The first five are planned for their values, to compare.
    let plans = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE 'WITH%'";
    let rows = client.query_typed(plans, &[]).await.unwrap();
    let counts: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(counts, [(5, 15), (5, 15)]);
}
