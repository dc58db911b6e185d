//! Records in their buckets: many of one tag, their expiry, and their memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use ackonce::store::{
    AdminOutcome, Attempt, ClaimRequest, Claimed, DeduplicatorExt, Entry, Filter, Fingerprint, Inspect, Note,
    Query, RecordTarget, Settle, Settled, Settlement, State, Token,
};
use ackonce::{Deduplicator, Key, Scope};
use ackonce_redis::RedisStore;
use common::{HOUR, Server, acquired, request_for, until};

async fn settle_all(store: &RedisStore, requests: &[ClaimRequest], window: Duration) {
    let leases = store.claim(requests).await.unwrap().into_iter().map(acquired);
    let complete = |lease| Settlement::new(&lease, Settle::Complete { window, outcome: None });
    let settlements: Vec<_> = leases.map(complete).collect();
    let settled = store.settle(&settlements).await.unwrap();
    assert!(settled.iter().all(|settled| *settled == Settled::Yes));
}

async fn listed(store: &RedisStore, state: Option<State>) -> Vec<Entry> {
    let mut query = Query { filter: Filter { state, ..Filter::default() }, limit: 100, after: None };
    let mut entries = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        entries.extend(page.entries);
        query.after = page.next;
        if query.after.is_none() {
            return entries;
        }
    }
}

/// More than buckets hold: the tag's bucket is split, and its children, too.
#[tokio::test]
async fn a_crowded_tag_keeps_every_record_apart() {
    let store = or_return!(common::store().await);
    let keys = common::crowd(450);
    for keys in keys.chunks(50) {
        settle_all(&store, &keys.iter().map(request_for).collect::<Vec<_>>(), HOUR).await;
    }
    let again: Vec<_> = keys.iter().map(request_for).collect();
    assert!(
        store.claim(&again).await.unwrap().iter().all(|a| matches!(a, Claimed::Done(r) if r.attempt == 1))
    );
    let names: BTreeSet<_> = listed(&store, None).await.into_iter().map(|e| e.digest).collect();
    assert_eq!(names.len(), keys.len());

    let note = Note { actor: "test".into(), reason: "crowd".into() };
    for key in &keys[..100] {
        assert_eq!(store.forget(RecordTarget::Key(key), &note).await.unwrap(), AdminOutcome::Yes);
    }
    for key in &keys[100..200] {
        assert_eq!(store.redrive(RecordTarget::Key(key), &note).await.unwrap(), AdminOutcome::Yes);
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.released, stats.done), (100, 250));
    let answers = store.claim(&again).await.unwrap();
    let is_new = |answer: &Claimed| matches!(answer, Claimed::Acquired(_));
    assert!(answers[..200].iter().all(is_new) && !answers[200..].iter().any(is_new));
}

/// Records of one bucket end one by one, and Redis's own expiry of the bucket takes none too early.
#[tokio::test]
async fn each_record_of_a_bucket_ends_by_itself() {
    let store = or_return!(common::store().await);
    let keys = common::crowd(200);
    let (short, long): (Vec<&Key>, Vec<&Key>) =
        (keys.iter().step_by(2).collect(), keys.iter().skip(1).step_by(2).collect());
    let window = Duration::from_millis(500);
    let brief = |key: &&Key| ClaimRequest { lease: window, window: Duration::ZERO, ..request_for(key) };
    settle_all(&store, &short.iter().map(brief).collect::<Vec<_>>(), window).await;
    settle_all(&store, &long.iter().map(|key| request_for(key)).collect::<Vec<_>>(), HOUR).await;
    until("the short ones have ended", async || store.look(short[99]).await.unwrap().is_none()).await;
    assert_eq!(listed(&store, Some(State::Done)).await.len(), 100);
    assert!(store.sweep().await.unwrap() > 0, "some are dropped by the claims of others, some are left");
    assert_eq!(store.sweep().await.unwrap(), 0);
    for key in short {
        assert_eq!(acquired(store.claim_one(request_for(key)).await.unwrap()).attempt, 1);
    }
    for key in long {
        assert!(matches!(store.claim_one(request_for(key)).await.unwrap(), Claimed::Done(_)));
    }
}

/// Buckets with nothing else are dropped whole, and a live record beside an expired one stays.
#[tokio::test]
async fn a_sweep_takes_the_dead_alone() {
    let store = or_return!(common::store().await);
    let keys = common::crowd(200);
    settle_all(&store, &keys.iter().map(request_for).collect::<Vec<_>>(), HOUR).await;
    let note = Note { actor: "test".into(), reason: "to be swept".into() };
    let (last, others) = keys.split_last().unwrap();
    for key in others {
        assert_eq!(store.forget(RecordTarget::Key(key), &note).await.unwrap(), AdminOutcome::Yes);
    }
    assert_eq!(store.sweep().await.unwrap(), 199);
    assert!(matches!(store.claim_one(request_for(last)).await.unwrap(), Claimed::Done(_)));
    store.forget(RecordTarget::Key(last), &note).await.unwrap();
    assert_eq!((store.sweep().await.unwrap(), store.sweep().await.unwrap()), (1, 0));
    for key in &keys {
        assert_eq!(acquired(store.claim_one(request_for(key)).await.unwrap()).attempt, 1);
    }
}

/// A bucket is dropped by Redis itself once its last record has ended.
#[tokio::test]
async fn nothing_is_left_of_what_has_ended() {
    let server = or_return!(Server::start(&[]).await);
    let store = server.config().connect().await.unwrap();
    let keys = common::crowd(300);
    let brief = |key| ClaimRequest { lease: HOUR, window: HOUR, ..request_for(key) };
    settle_all(&store, &keys.iter().map(brief).collect::<Vec<_>>(), HOUR).await;
    let names: Vec<String> = server.say("KEYS ackonce:{*").await.unwrap();
    assert!(names.len() > 4, "{names:?}");
    for name in names {
        let left: i64 = server.say(&format!("PTTL {name}")).await.unwrap();
        // The lease and the window of the claim, and an eighth more.
        let most = i64::try_from(2 * HOUR.as_millis() * 9 / 8 + 62_000).unwrap();
        assert!(left > 0 && left <= most, "{name} has {left} ms to live");
    }
}

/// With leases and windows of different length, in any order, Redis drops no bucket before its last record
/// has ended, nor a parent before its children.
#[tokio::test]
async fn no_bucket_ends_before_what_is_in_it() {
    let server = or_return!(Server::start(&[]).await);
    let store = server.config().connect().await.unwrap();
    let hours = |n: usize, most: usize| HOUR * u32::try_from(n * 7919 % most).unwrap();
    let claims = common::crowd(450).into_iter().enumerate().map(|(n, key)| ClaimRequest {
        lease: hours(n, 5) + HOUR,
        window: hours(n, 700),
        ..request_for(&key)
    });
    for claims in claims.collect::<Vec<_>>().chunks(30) {
        let leases = store.claim(claims).await.unwrap().into_iter().map(acquired);
        let settlements = leases.enumerate().filter_map(|(n, lease)| {
            let window = hours(n, 900) + HOUR;
            let action = match n % 4 {
                0 => Settle::Complete { window, outcome: None },
                1 => Settle::Extend { lease: hours(n, 300), window },
                2 => Settle::Release { attempt: Attempt::Counts, window, not_before: hours(n, 200) },
                _ => return None,
            };
            Some(Settlement::new(&lease, action))
        });
        store.settle(&settlements.collect::<Vec<_>>()).await.unwrap();
    }

    let names: Vec<String> = server.say("KEYS ackonce:{*").await.unwrap();
    assert!(names.len() > 5, "{names:?}");
    for name in &names {
        let end: u64 = server.say(&format!("PEXPIRETIME {name}")).await.unwrap();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = server.say(&format!("HGETALL {name}")).await.unwrap();
        for (_, row) in rows.iter().filter(|(field, _)| !field.is_empty()) {
            // As src/lua/row.lua says: seconds in a settled row, microseconds in a full one.
            let number = |len| row[..len].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
            let expires = if row.len() < 50 { number(4) * 1000 } else { number(7).div_ceil(1000) };
            assert!(end >= expires, "{name} ends at {end}, a record in it at {expires}");
        }
        let (root, path) = name.split_once('}').unwrap();
        let parent = match path.len() {
            0 => continue,
            1 | 2 => format!("{root}}}"),
            _ => name[..name.len() - 1].to_owned(),
        };
        let parents: u64 = server.say(&format!("PEXPIRETIME {parent}")).await.unwrap();
        assert!(parents >= end, "{parent} ends at {parents}, its child {name} at {end}");
    }
}

/// The price that the README states for a million records, at the density of a million: those of a sixteenth
/// of all tags. `examples/bytes_per_id.rs` measures the whole million.
#[tokio::test]
async fn a_settled_record_takes_at_most_48_bytes() {
    let scope = Scope::new("orders/charge-card").unwrap();
    let ids = (0..1_000_000_u64).map(|n| {
        // In the form of a UUID: 36 characters. How IDs look does not matter, their digests are stored.
        let hex = format!("{:032x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834));
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    });
    let keys: Vec<_> = ids.map(|id| scope.key(id).unwrap()).filter(|key| key.digest()[0] < 16).collect();
    for with_print in [false, true] {
        let Some(server) = Server::start(&["--appendonly", "no", "--slowlog-max-len", "0"]).await else {
            return;
        };
        // Redis sets memory aside for each command when it is first run.
        let warm = server.config().with_prefix("warm").connect().await.unwrap();
        settle_all(&warm, &common::crowd(130).iter().map(request_for).collect::<Vec<_>>(), HOUR).await;
        warm.stats().await.unwrap();
        drop(warm);
        let before = used_memory(&server).await;
        let store = server.config().connect().await.unwrap();
        let print = || with_print.then(|| Fingerprint(Token::random().0));
        for keys in keys.chunks(500) {
            let requests = keys.iter().map(|key| ClaimRequest { fingerprint: print(), ..request_for(key) });
            settle_all(&store, &requests.collect::<Vec<_>>(), 24 * 7 * HOUR).await;
        }
        assert_eq!(store.stats().await.unwrap().done, u64::try_from(keys.len()).unwrap());
        drop(store);
        let each = (used_memory(&server).await - before) / f64::from(u32::try_from(keys.len()).unwrap());
        println!("{} settled records, fingerprint: {with_print}: {each:.1} bytes each", keys.len());
        assert!(each <= 48.0, "{each:.1} bytes");
    }
}

/// The memory of Redis, measured without other clients.
async fn used_memory(server: &Server) -> f64 {
    until("the store's connection is closed", async || server.info("connected_clients").await == "1").await;
    server.info("used_memory").await.parse().unwrap()
}
