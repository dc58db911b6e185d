//! Buckets, outcomes and rows that a server evicted, another program overwrote or a newer version wrote: each costs its
//! own message, and none of those beside it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::{Arc, Mutex};

use ackonce::adapter::{Delivery, Job, RecordOnly, SettledAs};
use ackonce::store::{
    AdminOutcome, ClaimRequest, Claimed, Coalesce, DeduplicatorExt, Filter, Inspect, Lease, Note, Query,
    RecordTarget, Repeat as R, Settle, Settled, Settlement, State,
};
use ackonce::{Context, Deduplicator, ErrorKind as K, Failure, Key, Runner, Settings};
use ackonce_redis::{OnUnsafe, RedisStore};
use common::{HOUR, Server, acquire, acquired, complete, done, error, key, request_for, until};
use redis::aio::MultiplexedConnection;

/// A store that allows eviction, and a connection for the part of the evicting server.
async fn evicting() -> Option<(Server, RedisStore, MultiplexedConnection)> {
    let server = Server::start(&[]).await?;
    let store = server.config().with_unsafe(OnUnsafe::Downgrade).connect().await.unwrap();
    let beside = server.beside().await.unwrap();
    Some((server, store, beside))
}

async fn names(redis: &mut MultiplexedConnection) -> Vec<String> {
    let mut names: Vec<String> = redis::cmd("KEYS").arg("ackonce:{*").query_async(redis).await.unwrap();
    names.sort_by_key(String::len);
    names
}

async fn delete(redis: &mut MultiplexedConnection, names: &[String]) {
    redis::cmd("DEL").arg(names).query_async::<()>(redis).await.unwrap();
}

async fn complete_all(store: &RedisStore, keys: &[Key]) {
    let leases: Vec<_> = store.claim(&fresh(keys)).await.unwrap().into_iter().map(acquired).collect();
    let settled = store.settle(&leases.iter().map(done).collect::<Vec<_>>()).await.unwrap();
    assert!(settled.iter().all(|settled| *settled == Settled::Yes));
}

/// Of each key: claimed in one batch, alone, and in one batch again, it is granted once at most. Returns how many were
/// done, and how many granted.
async fn granted_once(store: &RedisStore, keys: &[Key]) -> (usize, usize) {
    let first = store.claim(&fresh(keys)).await.unwrap();
    let mut alone = Vec::new();
    for request in fresh(keys) {
        alone.push(store.claim_one(request).await.unwrap());
    }
    let second = store.claim(&fresh(keys)).await.unwrap();
    let mut counts = (0, 0);
    for (first, later) in first.into_iter().zip(alone.into_iter().zip(second)) {
        match (&first, &later) {
            (Claimed::Done(_), (Claimed::Done(_), Claimed::Done(_))) => counts.0 += 1,
            (Claimed::Acquired(_), (Claimed::Busy { .. }, Claimed::Busy { .. })) => counts.1 += 1,
            _ => panic!("{first:?}, then {later:?}"),
        }
    }
    counts
}

#[tokio::test]
async fn an_evicted_parent_of_a_split_bucket_hides_no_record() {
    let (_server, store, mut redis) = or_return!(evicting().await);
    let keys = common::crowd(170);
    complete_all(&store, &keys[..150]).await;
    let root = names(&mut redis).await.remove(0);
    delete(&mut redis, std::slice::from_ref(&root)).await;
    assert_eq!(store.stats().await.unwrap().done, 150);
    delete(&mut redis, std::slice::from_ref(&root)).await;
    assert_eq!(granted_once(&store, &keys).await, (150, 20));
    delete(&mut redis, std::slice::from_ref(&root)).await;
    // Remembered for longer than the bucket was to live: its parents have to live on, too.
    let lease = acquire(&store, request_for(&key("another"))).await;
    complete(&store, &lease).await;
    let longer = ClaimRequest { window: HOUR * 999, ..request_for(&common::crowd(171)[170]) };
    acquire(&store, longer.clone()).await;
    delete(&mut redis, &[root]).await;
    assert_eq!(acquire(&store, longer).await.attempt, 1, "the same claim is answered as the first time");
    assert_eq!(store.sweep().await.unwrap(), 0);
}

/// The policy was wrong for a while: a store that refuses eviction now reckons with its traces.
#[tokio::test]
async fn a_parent_that_was_evicted_before_eviction_was_refused_hides_no_record() {
    let server = or_return!(Server::start(&["--maxmemory-policy", "volatile-lru"]).await);
    server.say::<()>("SET foreign x EX 1000").await.unwrap();
    server.set("maxmemory", "1").await;
    until("a key is evicted", async || {
        let _ = server.say::<()>("SET foreign x EX 1000").await;
        server.info("evicted_keys").await != "0"
    })
    .await;
    server.set("maxmemory", "0").await;
    server.set("maxmemory-policy", "noeviction").await;
    let store = server.config().connect().await.unwrap();
    let keys = common::crowd(150);
    complete_all(&store, &keys).await;
    let mut redis = server.beside().await.unwrap();
    let root = names(&mut redis).await.remove(0);
    delete(&mut redis, &[root]).await;
    assert_eq!(granted_once(&store, &keys).await, (150, 0));
}

#[tokio::test]
async fn evicted_buckets_at_every_level_grant_nothing_twice() {
    let (_server, store, mut redis) = or_return!(evicting().await);
    let keys = common::crowd(450);
    for part in keys.chunks(50) {
        complete_all(&store, part).await;
    }
    let buckets = names(&mut redis).await;
    assert!(buckets.len() > 9, "children of children: {buckets:?}");
    // All that are split, then some that are not.
    let (shallow, deep) = buckets.split_at(5);
    delete(&mut redis, shallow).await;
    let stats = store.stats().await.unwrap();
    let (old, new) = granted_once(&store, &keys).await;
    assert_eq!((old, old + new), (usize::try_from(stats.done).unwrap(), 450));
    delete(&mut redis, &deep[..3]).await;
    delete(&mut redis, &shallow[1..3]).await;
    store.claim(&fresh(&keys)).await.unwrap();
    let again = [store.claim(&fresh(&keys)).await.unwrap(), store.claim(&fresh(&keys)).await.unwrap()];
    assert!(!again.iter().flatten().any(|answer| matches!(answer, Claimed::Acquired(_))));
}

fn fresh(keys: &[Key]) -> Vec<ClaimRequest> {
    keys.iter().map(request_for).collect()
}

/// A server that evicts, for real, under claims and settlements of a crowded tag: no answer is an error, and nothing is
/// granted while it is held.
#[tokio::test]
async fn a_server_that_evicts_fails_nobody() {
    let server = or_return!(Server::start(&["--maxmemory-policy", "allkeys-random"]).await);
    let store = server.config().with_unsafe(OnUnsafe::Downgrade).connect().await.unwrap();
    complete_all(&store, &common::crowd(450)).await;
    let used: u64 = server.info("used_memory").await.parse().unwrap();
    server.set("maxmemory", &(used + 200_000).to_string()).await;
    for n in 0..10 {
        let keys: Vec<_> = (0..200).map(|m| key(format!("{n}-{m}"))).chain(common::crowd(450)).collect();
        let answers = store.claim(&fresh(&keys)).await.unwrap();
        let leases = answers.into_iter().filter_map(|answer| match answer {
            Claimed::Acquired(lease) => Some(with_outcome(&lease)),
            _ => None,
        });
        store.settle(&leases.collect::<Vec<_>>()).await.unwrap();
    }
    assert_ne!(server.info("evicted_keys").await, "0");
    store.stats().await.unwrap();
    store.sweep().await.unwrap();
}

fn with_outcome(lease: &Lease) -> Settlement {
    Settlement::new(lease, Settle::Complete { window: HOUR, outcome: Some("paid".into()) })
}

#[tokio::test]
async fn an_evicted_outcome_costs_its_own_message_a_repeat() {
    let (server, store, mut redis) = or_return!(evicting().await);
    let keys: Vec<_> = (0..3).map(key).collect();
    let leases: Vec<_> = store.claim(&fresh(&keys)).await.unwrap().into_iter().map(acquired).collect();
    store.settle(&leases.iter().map(with_outcome).collect::<Vec<_>>()).await.unwrap();
    let before = store.look(&keys[1]).await.unwrap().unwrap().record;
    evict_text(&server, &mut redis, &keys[1]).await;

    // If eviction is not allowed, it is an error of that message alone.
    let strict = server.config().connect().await.unwrap();
    assert_eq!(error(strict.claim(&fresh(&keys)).await), (K::Invalid, R::Never));
    let named = strict.claim_one(request_for(&keys[1])).await.unwrap_err().to_string();
    assert!(named.contains("orders/charge/1") && named.contains("outcome"), "{named}");
    assert_eq!(strict.look(&keys[1]).await.unwrap().unwrap().record.outcome, None);
    assert!(matches!(strict.claim_one(request_for(&keys[2])).await.unwrap(), Claimed::Done(_)));

    assert_eq!(store.look(&keys[1]).await.unwrap(), None, "a claim would not find it either");
    assert_eq!(store.list(&all()).await.unwrap().entries.len(), 2);
    let mut answers = store.claim(&fresh(&keys)).await.unwrap();
    let again = acquired(answers.remove(1));
    assert!(again.fence > before.fence && again.attempt == 1, "{again:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Claimed::Done(_))), "{answers:?}");
    store.settle_one(with_outcome(&again)).await.unwrap();
    assert_eq!(store.look(&keys[1]).await.unwrap().unwrap().record.outcome.unwrap(), "paid");

    // Another program's value in its place is no outcome, either.
    let text = evict_text(&server, &mut redis, &keys[1]).await;
    redis::cmd("RPUSH").arg(&text).arg("x").query_async::<()>(&mut redis).await.unwrap();
    assert_eq!(error(strict.claim(&fresh(&keys)).await), (K::Invalid, R::Never));
    assert_eq!(strict.list(&all()).await.unwrap().entries.len(), 3);
    acquired(store.claim(&fresh(&keys)).await.unwrap().remove(1));
}

/// Takes away the text that lies beside a record. Returns its key.
async fn evict_text(server: &Server, redis: &mut MultiplexedConnection, of: &Key) -> Vec<u8> {
    let digest = of.digest();
    let tag = u16::from_be_bytes([digest[0], digest[1]]) >> 2;
    let texts: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg(format!("ackonce:{{{tag:04x}}}:o:*")).query_async(redis).await.unwrap();
    assert_eq!(texts.len(), 1, "{}", server.port);
    redis::cmd("DEL").arg(&texts).query_async::<()>(redis).await.unwrap();
    texts.into_iter().next().unwrap()
}

#[tokio::test]
async fn an_evicted_reason_does_not_undo_a_burial() {
    let (server, store, mut redis) = or_return!(evicting().await);
    let lease = acquire(&store, request_for(&key(1))).await;
    store
        .settle_one(Settlement::new(&lease, Settle::Bury { window: HOUR, reason: "no use".into() }))
        .await
        .unwrap();
    evict_text(&server, &mut redis, &key(1)).await;
    let Claimed::Done(record) = store.claim_one(request_for(&key(1))).await.unwrap() else {
        panic!("it ran")
    };
    assert_eq!((record.state, record.reason), (State::Buried, None));
    assert_eq!(store.list(&all()).await.unwrap().entries.len(), 1);
}

fn all() -> Query {
    Query { filter: Filter::default(), limit: 100, after: None }
}

/// The hash of a record that is alone in it, and its field.
async fn row_of(redis: &mut MultiplexedConnection, of: &Key) -> (String, Vec<u8>) {
    let digest = of.digest();
    let root = format!("ackonce:{{{:04x}}}", u16::from_be_bytes([digest[0], digest[1]]) >> 2);
    let fields: Vec<Vec<u8>> = redis::cmd("HKEYS").arg(&root).query_async(redis).await.unwrap();
    let mut fields: Vec<_> = fields.into_iter().filter(|field| !field.is_empty()).collect();
    assert_eq!(fields.len(), 1);
    (root, fields.remove(0))
}

/// Garbage, and forms that a newer version may write.
fn strange_rows() -> Vec<Vec<u8>> {
    let mut newer = vec![0xff; 50];
    newer[21] = 128;
    let mut unknown_previous = vec![0xff; 58];
    unknown_previous[21] = 12;
    vec![Vec::new(), b"garbage".to_vec(), vec![7; 51], vec![0; 5000], newer, unknown_previous]
}

#[tokio::test]
async fn a_row_that_cannot_be_read_costs_its_own_message_an_error() {
    let (_server, store, mut redis) = or_return!(evicting().await);
    let coalesce = Coalesce::new(Arc::new(store.clone()));
    for (n, strange) in strange_rows().into_iter().enumerate() {
        let keys: Vec<_> = (0..40).map(|m| key(format!("{n}-{m}"))).collect();
        let (bad, at) = (&keys[17], 17);
        let lease = acquire(&store, request_for(bad)).await;
        let (root, field) = row_of(&mut redis, bad).await;
        redis::cmd("HSET").arg(&root).arg(&field).arg(strange).query_async::<()>(&mut redis).await.unwrap();

        let calls = fresh(&keys);
        let answers =
            futures_util::future::join_all(calls.into_iter().map(|call| coalesce.claim_one(call))).await;
        let mut leases = Vec::new();
        for (m, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(answer) => leases.push(acquired(answer)),
                Err(error) => {
                    assert_eq!((m, error.kind(), error.repeat()), (at, K::Invalid, R::Never));
                    let text = error.to_string();
                    assert!(
                        text.contains(&format!("orders/charge/{n}-17")) && text.contains(&root),
                        "{text}"
                    );
                }
            }
        }
        // Halves of the batch were sent again, and nothing was applied twice.
        assert!(leases.len() == 39 && leases.iter().all(|lease| lease.attempt == 1), "{leases:?}");
        // Its holder has lost it; the others are settled in the same trip.
        let settlements: Vec<_> = leases.iter().chain([&lease]).map(done).collect();
        let (last, others) =
            store.settle(&settlements).await.unwrap().split_last().map(|(l, o)| (*l, o.to_vec())).unwrap();
        assert!(last == Settled::Lost && others.iter().all(|settled| *settled == Settled::Yes));

        let seen = store.look(bad).await.unwrap().unwrap().record;
        assert!(seen.state == State::Buried && seen.reason.unwrap().contains("cannot be read"));
        let mut listed = store.list(&all()).await.unwrap().entries;
        assert_eq!(listed.len(), 40);
        listed.retain(|entry| entry.record.state == State::Buried);
        assert!(listed.len() == 1 && listed[0].record.reason.as_ref().unwrap().contains("cannot be read"));
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.done, stats.buried), (39, 1));
        store.sweep().await.unwrap();

        let note = Note { actor: "test".into(), reason: "unreadable".into() };
        assert_eq!(error(store.redrive(RecordTarget::Key(bad), &note).await), (K::Invalid, R::Never));
        assert_eq!(store.forget(RecordTarget::Key(bad), &note).await.unwrap(), AdminOutcome::Yes);
        let again = acquire(&store, request_for(bad)).await;
        assert!(again.fence > lease.fence);
        redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
    }
}

/// That is the whole store, and not one message: nobody starts with it, and consumers wait until it is set right.
#[tokio::test]
async fn a_secret_that_cannot_be_read_is_named() {
    let server = or_return!(Server::start(&[]).await);
    let config = server.config().with_check_interval(std::time::Duration::ZERO);
    let store = config.clone().connect().await.unwrap();
    let lease = acquire(&store, request_for(&key(1))).await;
    let mut redis = server.beside().await.unwrap();
    let secret: Vec<u8> = redis::cmd("GET").arg("ackonce:secret").query_async(&mut redis).await.unwrap();
    for (command, value) in [("SET", "of a newer version"), ("RPUSH", "x")] {
        delete(&mut redis, &["ackonce:secret".to_owned()]).await;
        redis::cmd(command).arg("ackonce:secret").arg(value).query_async::<()>(&mut redis).await.unwrap();
        let refused = config.clone().connect().await;
        assert!(refused.as_ref().unwrap_err().to_string().contains("ackonce:secret"));
        assert_eq!(error(refused), (K::NewerSchema, R::Never));
        assert_eq!(error(store.settle_one(done(&lease)).await), (K::NewerSchema, R::Safe));
    }
    redis::cmd("SET").arg("ackonce:secret").arg(secret).query_async::<()>(&mut redis).await.unwrap();
    complete(&store, &lease).await;
}

/// Strange rows and fields in a bucket that grows past its limit.
#[tokio::test]
async fn a_bucket_with_strange_rows_is_split_all_the_same() {
    let (_server, store, mut redis) = or_return!(evicting().await);
    let keys = common::crowd(300);
    let lease = acquire(&store, request_for(&keys[0])).await;
    let (root, field) = row_of(&mut redis, &keys[0]).await;
    redis::cmd("HSET")
        .arg(&root)
        .arg("short")
        .arg("x")
        .arg(&field)
        .arg("y")
        .query_async::<()>(&mut redis)
        .await
        .unwrap();
    for part in keys[1..].chunks(30) {
        complete_all(&store, part).await;
    }
    assert_eq!(store.settle_one(done(&lease)).await.unwrap(), Settled::Lost);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.done, stats.buried), (299, 1));
    assert_eq!(error(store.claim_one(request_for(&keys[0])).await), (K::Invalid, R::Never));
    assert_eq!(granted_once(&store, &keys[1..]).await, (299, 0));
    assert_eq!(store.list(&Query { limit: 1000, ..all() }).await.unwrap().entries.len(), 300);
}

#[tokio::test]
async fn a_key_that_is_no_bucket_costs_the_messages_of_its_tag() {
    let (_server, store, mut redis) = or_return!(evicting().await);
    let keys: Vec<_> = (0..5).map(key).collect();
    let leases: Vec<_> = store.claim(&fresh(&keys)).await.unwrap().into_iter().map(acquired).collect();
    let (root, field) = row_of(&mut redis, &keys[2]).await;
    for strange in ["SET", "HSET"] {
        delete(&mut redis, std::slice::from_ref(&root)).await;
        let mut overwrite = redis::cmd(strange);
        if strange == "SET" {
            overwrite.arg(&root).arg("something");
        } else {
            overwrite.arg(&root).arg("").arg("\x09newer").arg(&field).arg("x");
        }
        overwrite.query_async::<()>(&mut redis).await.unwrap();
        assert_eq!(error(store.claim(&fresh(&keys)).await), (K::Invalid, R::Never));
        let text = store.claim_one(request_for(&keys[2])).await.unwrap_err().to_string();
        assert!(text.contains(&root) && text.contains("orders/charge/2"), "{text}");
        let coalesce = Coalesce::new(Arc::new(store.clone()));
        let requests = fresh(&keys);
        let calls = requests.into_iter().map(|request| coalesce.claim_one(request));
        let answers = futures_util::future::join_all(calls).await;
        let failed: Vec<_> = (0..5).filter(|n| answers[*n].is_err()).collect();
        assert_eq!(failed, [2]);
        let extend = |lease| Settlement::new(lease, Settle::Extend { lease: HOUR, window: HOUR });
        let settled = store.settle(&leases.iter().map(extend).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(
            settled.iter().map(|s| *s == Settled::Yes).collect::<Vec<_>>(),
            [true, true, false, true, true]
        );
        assert_eq!(store.stats().await.unwrap().claimed, 4);
        assert_eq!(store.list(&all()).await.unwrap().entries.len(), 4);
        store.sweep().await.unwrap();
    }
    delete(&mut redis, &[root]).await;
    acquire(&store, request_for(&keys[2])).await;
}

/// Of a batch whose rows one cannot be read, a consumer runs the others, buries that one with its reason, and goes on.
#[tokio::test]
async fn a_row_that_cannot_be_read_does_not_end_its_consumer() {
    let (_server, store, mut redis) = or_return!(evicting().await);
    let bad = key(17);
    acquire(&store, request_for(&bad)).await;
    let (root, field) = row_of(&mut redis, &bad).await;
    redis::cmd("HSET").arg(&root).arg(&field).arg("garbage").query_async::<()>(&mut redis).await.unwrap();

    let ran = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let ran = ran.clone();
        move |_: Context, n: u32| {
            ran.lock().unwrap().push(n);
            std::future::ready(Ok::<_, Failure>(()))
        }
    };
    let scope = bad.scope().clone();
    let runner =
        Runner::with(Arc::new(store.clone()), &scope, handler, Settings::default(), Arc::new(RecordOnly))
            .unwrap();
    for round in 0..2 {
        let jobs = (0..40).map(|n| runner.process(Job::new(key(n), Order(n))));
        for (n, receipt) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
            let how = receipt.unwrap().how();
            match (n, round) {
                (17, 0) => assert_eq!(how, SettledAs::Buried),
                (17, _) => assert!(matches!(how, SettledAs::Duplicate { .. } | SettledAs::Buried), "{how:?}"),
                (_, 0) => assert_eq!(how, SettledAs::Run),
                _ => assert!(matches!(how, SettledAs::Duplicate { .. }), "{how:?}"),
            }
        }
    }
    let mut ran = std::mem::take(&mut *ran.lock().unwrap());
    ran.sort_unstable();
    assert_eq!(ran, (0..40).filter(|n| *n != 17).collect::<Vec<_>>());
    let buried = Query { filter: Filter { state: Some(State::Buried), ..Filter::default() }, ..all() };
    let reasons: Vec<_> =
        store.list(&buried).await.unwrap().entries.into_iter().filter_map(|e| e.record.reason).collect();
    assert!(reasons.iter().any(|reason| reason.contains(&root)), "{reasons:?}");
}

struct Order(u32);

impl Delivery for Order {
    type Message = u32;
    fn message(&self) -> u32 {
        self.0
    }
}
