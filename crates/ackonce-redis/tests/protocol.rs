//! The scripts against the protocol: the same random steps on Redis and on the in-memory store, which runs
//! `ackonce::protocol`, are answered the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce::store::{
    AdminOutcome, Attempt, ClaimRequest, Claimed, Fingerprint, Inspect, Lease, Note, Record, RecordTarget,
    Settle, Settlement, Token,
};
use ackonce::{Deduplicator, Key, MemoryStore};
use ackonce_redis::{OnUnsafe, RedisStore};
use common::{HOUR, Server, key};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const STEPS: usize = 2000;

/// A lease as each of the two gave it.
#[derive(Clone)]
struct Both {
    memory: Lease,
    redis: Lease,
}

/// The part of a record that is the same in different stores.
fn common_part(record: &Record) -> impl PartialEq + std::fmt::Debug + use<> {
    let print = record.fingerprint.map(|f| f.0[..8].to_vec());
    (
        record.state,
        record.attempt,
        print,
        record.outcome.clone(),
        record.progress.clone(),
        record.reason.clone(),
    )
}

fn span(rng: &mut impl Rng) -> Duration {
    if rng.random_ratio(1, 6) { Duration::ZERO } else { HOUR }
}

/// Mostly none: a back-off of an hour is the end of a key, unless it is redriven.
fn pause(rng: &mut impl Rng) -> Duration {
    if rng.random_ratio(1, 6) { HOUR } else { Duration::ZERO }
}

fn print(rng: &mut impl Rng) -> Option<Fingerprint> {
    [None, None, Some("one"), Some("one"), Some("two")][rng.random_range(0..5)]
        .map(|p: &str| Fingerprint::of(p.as_bytes()))
}

fn action(rng: &mut impl Rng) -> Settle {
    let window = span(rng);
    match rng.random_range(0..9) {
        0 | 1 => Settle::Complete { window, outcome: None },
        2 => Settle::Complete { window, outcome: Some(["", "x\0y"][rng.random_range(0..2)].into()) },
        3 => Settle::Bury { window, reason: ["", "no use"][rng.random_range(0..2)].into() },
        4 => Settle::Release { attempt: Attempt::Counts, window, not_before: pause(rng) },
        5 => Settle::Release { attempt: Attempt::Refunded, window, not_before: pause(rng) },
        6 | 7 => Settle::Save { progress: ["", "half", "h\0lf"][rng.random_range(0..3)].into() },
        _ => Settle::Extend { lease: span(rng), window },
    }
}

struct Pair {
    memory: MemoryStore,
    redis: RedisStore,
    keys: Vec<Key>,
    rng: SmallRng,
    /// Of each key: the attempts made so far.
    tokens: Vec<Vec<Token>>,
    leases: Vec<Vec<Both>>,
}

impl Pair {
    /// The more keys, the larger the batches.
    fn batch(&mut self) -> usize {
        self.rng.random_range(1..4 + self.keys.len() / 10)
    }

    async fn claim(&mut self) {
        let requests: Vec<_> = (0..self.batch()).map(|_| self.request()).collect();
        let expected = self.memory.claim(&requests).await.unwrap();
        let answers = self.redis.claim(&requests).await.unwrap();
        for ((request, expected), answer) in requests.iter().zip(expected).zip(answers) {
            match (&expected, &answer) {
                (Claimed::Acquired(memory), Claimed::Acquired(redis)) => {
                    assert_eq!(
                        (memory.attempt, memory.previous, &memory.progress),
                        (redis.attempt, redis.previous, &redis.progress)
                    );
                    let both = Both { memory: memory.clone(), redis: redis.clone() };
                    let n = self.keys.iter().position(|key| *key == request.key).unwrap();
                    self.leases[n].push(both);
                }
                (Claimed::Busy { free_in: a }, Claimed::Busy { free_in: b }) => {
                    assert!(a.abs_diff(*b) < Duration::from_secs(60), "busy for {a:?} and {b:?}");
                }
                (Claimed::Done(a), Claimed::Done(b)) | (Claimed::Mismatch(a), Claimed::Mismatch(b)) => {
                    assert_eq!(common_part(a), common_part(b));
                }
                _ => panic!("{answer:?} where {expected:?} is right"),
            }
        }
    }

    fn request(&mut self) -> ClaimRequest {
        let n = self.rng.random_range(0..self.keys.len());
        let old = self.tokens[n].len();
        let token = match self.rng.random_ratio(1, 4) && old > 0 {
            true => self.tokens[n][self.rng.random_range(0..old)],
            false => Token(self.rng.random()),
        };
        self.tokens[n].push(token);
        let (lease, window) = (span(&mut self.rng), span(&mut self.rng));
        ClaimRequest { key: self.keys[n].clone(), token, lease, window, fingerprint: print(&mut self.rng) }
    }

    async fn settle(&mut self) {
        let mut chosen = Vec::new();
        for _ in 0..self.batch() {
            let n = self.rng.random_range(0..self.keys.len());
            // Mostly the latest: an older one is lost.
            let old = self.rng.random_ratio(1, 4);
            let back = if old { self.rng.random_range(0..=self.leases[n].len()) } else { 1 };
            let at = self.leases[n].len().checked_sub(back).and_then(|at| self.leases[n].get(at));
            if let Some(both) = at.cloned() {
                chosen.push((both, action(&mut self.rng)));
            }
        }
        let on = |pick: fn(&Both) -> &Lease| -> Vec<_> {
            chosen.iter().map(|(both, action)| Settlement::new(pick(both), action.clone())).collect()
        };
        let expected = self.memory.settle(&on(|b| &b.memory)).await.unwrap();
        let answers = self.redis.settle(&on(|b| &b.redis)).await.unwrap();
        assert_eq!(answers, expected, "{chosen:?}", chosen = on(|b| &b.redis));
    }

    async fn repair(&mut self) {
        let n = self.rng.random_range(0..self.keys.len());
        let note = Note { actor: "test".into(), reason: "chance".into() };
        let (expected, answer) = if self.rng.random() {
            (
                self.memory.forget(RecordTarget::Key(&self.keys[n]), &note).await,
                self.redis.forget(RecordTarget::Key(&self.keys[n]), &note).await,
            )
        } else {
            let answer = self.redis.redrive(RecordTarget::Key(&self.keys[n]), &note).await;
            if matches!(answer, Ok(AdminOutcome::Yes)) {
                // A settled row keeps no more of its token than proves its settlement: once redriven, it does
                // not know the attempt it came from. Here that is not heard of again.
                self.tokens[n].clear();
                self.leases[n].clear();
            }
            (self.memory.redrive(RecordTarget::Key(&self.keys[n]), &note).await, answer)
        };
        assert_eq!(answer.unwrap(), expected.unwrap());
    }

    async fn look(&mut self) {
        for n in 0..self.keys.len() {
            let expected = self.memory.look(&self.keys[n]).await.unwrap().map(|entry| entry.record);
            let found = self.redis.look(&self.keys[n]).await.unwrap().map(|entry| entry.record);
            assert_eq!(found.as_ref().map(common_part), expected.as_ref().map(common_part), "key {n}");
        }
        let (expected, found) = (self.memory.stats().await.unwrap(), self.redis.stats().await.unwrap());
        let expected_done = expected.done;
        assert!(found.done <= expected_done, "{found:?}, {expected:?}");
    }
}

async fn random_steps(keys: Vec<Key>) {
    random_steps_on(or_return!(common::store().await), keys, async || {}).await;
}

/// `meanwhile` is done between any two steps.
async fn random_steps_on(redis: RedisStore, keys: Vec<Key>, mut meanwhile: impl AsyncFnMut()) {
    let seed = std::env::var("ACKONCE_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("ACKONCE_TEST_SEED={seed}");
    let mut pair = Pair {
        memory: MemoryStore::new(),
        redis,
        rng: SmallRng::seed_from_u64(seed),
        tokens: vec![Vec::new(); keys.len()],
        leases: vec![Vec::new(); keys.len()],
        keys,
    };
    for step in 0..STEPS {
        meanwhile().await;
        match pair.rng.random_range(0..20) {
            0 => pair.repair().await,
            1..9 => pair.claim().await,
            _ => pair.settle().await,
        }
        if step % 500 == 0 {
            pair.look().await;
        }
        if step % 1000 == 0 {
            pair.redis.sweep().await.unwrap();
        }
    }
    pair.look().await;
}

#[tokio::test]
async fn random_steps_are_answered_as_the_protocol_says() {
    random_steps((0..4).map(key).collect()).await;
}

/// The same in buckets that are split and tidied meanwhile.
#[tokio::test]
async fn random_steps_in_a_crowd_are_answered_as_the_protocol_says() {
    random_steps(common::crowd(300)).await;
}

/// The same while a server evicts the buckets that have others below them: that costs no record.
#[tokio::test]
async fn random_steps_are_answered_as_the_protocol_says_while_parents_are_evicted() {
    let server = or_return!(Server::start(&["--appendonly", "no"]).await);
    let store = server.config().with_unsafe(OnUnsafe::Downgrade).connect().await.unwrap();
    let mut beside = server.beside().await.unwrap();
    let mut evicted = 0;
    random_steps_on(store, common::crowd(400), async || {
        let mut evict = redis::cmd("EVAL");
        evict.arg(EVICT_PARENTS).arg(0);
        evicted += evict.query_async::<u32>(&mut beside).await.unwrap();
    })
    .await;
    assert!(evicted > 100, "{evicted}");
}

/// Drops half of those buckets that have no entry but their own.
const EVICT_PARENTS: &str = "
    local dropped = 0
    for _, key in ipairs(redis.call('KEYS', 'ackonce:{*')) do
        if redis.call('TYPE', key).ok == 'hash' and redis.call('HLEN', key) == 1 and math.random(2) == 1 then
            dropped = dropped + redis.call('DEL', key)
        end
    end
    return dropped
";
