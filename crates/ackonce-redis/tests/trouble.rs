//! A server's refusal is an error that names its cause, never an answer, and ends with its cause.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce::store::{Claimed, DeduplicatorExt, Filter, Inspect, Repeat as R, Settled};
use ackonce::{Deduplicator, ErrorKind as K};
use ackonce_redis::{OnUnsafe, RedisConfig, RedisStore, Replicas};
use common::{Server, acquire, acquired, complete, done, error, is_done, request, until};

/// Looks at the server with every request.
fn watchful(config: RedisConfig) -> RedisConfig {
    config.with_check_interval(Duration::ZERO)
}

#[tokio::test]
async fn without_memory_nothing_is_claimed_and_what_was_claimed_is_settled() {
    let server = or_return!(Server::start(&[]).await);
    let store = server.config().connect().await.unwrap();
    let lease = acquire(&store, request("held")).await;
    server.set("maxmemory", &server.info("used_memory").await).await;
    let mut taken = Vec::new();
    let refused = loop {
        match store.claim_one(request(taken.len())).await {
            Ok(answer) => taken.push(acquired(answer)),
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind(), refused.repeat()), (K::Full, R::Safe), "{refused}");
    complete(&store, &lease).await;
    server.set("maxmemory", "0").await;
    for lease in &taken {
        complete(&store, lease).await;
    }
    acquire(&store, request(taken.len())).await;
    assert!(is_done(&store, "held").await);
}

/// A full server with 29 expired records in one bucket, and a live one that keeps it from being dropped whole.
async fn full_of_expired(server: &Server) -> (RedisStore, Vec<ackonce::Key>) {
    let (store, keys) = (server.config().connect().await.unwrap(), common::crowd(30));
    let window = Duration::from_millis(1);
    let shorter = |key| ackonce::store::ClaimRequest { lease: window, window, ..common::request_for(key) };
    acquire(&store, common::request_for(&keys[0])).await;
    store.claim(&keys[1..].iter().map(shorter).collect::<Vec<_>>()).await.unwrap();
    until("they have expired", async || store.list(&all()).await.unwrap().entries.len() == 1).await;
    server.set("maxmemory", "1").await;
    (store, keys)
}

#[tokio::test]
async fn at_the_memory_limit_what_expired_makes_room() {
    let server = or_return!(Server::start(&[]).await);
    let (store, keys) = full_of_expired(&server).await;
    assert_eq!(error(store.claim_one(common::request_for(&keys[1])).await), (K::Full, R::Safe));
    assert_eq!(store.sweep().await.unwrap(), 0, "nothing is left to sweep");
}

/// The same claims come again and again, and their own tags had nothing to give.
#[tokio::test]
async fn at_the_memory_limit_what_expired_elsewhere_makes_room() {
    let server = or_return!(Server::start(&[]).await);
    let (store, _) = full_of_expired(&server).await;
    for _ in 0..32 {
        assert_eq!(error(store.claim_one(request("of another tag")).await), (K::Full, R::Safe));
    }
    assert_eq!(store.sweep().await.unwrap(), 0, "nothing is left to sweep");
}

fn all() -> ackonce::store::Query {
    ackonce::store::Query { filter: Filter::default(), limit: 100, after: None }
}

#[tokio::test]
async fn an_evicting_server_is_refused_or_listed() {
    let server = or_return!(Server::start(&[]).await);
    let strict = watchful(server.config()).connect().await.unwrap();
    let lenient = watchful(server.config()).with_unsafe(OnUnsafe::Downgrade).connect().await.unwrap();
    let lease = acquire(&strict, request(1)).await;
    assert_eq!(strict.describe().weaknesses, Vec::<String>::new());

    server.set("maxmemory", "100mb").await;
    server.set("maxmemory-policy", "allkeys-lru").await;
    // A server that worked will work again: a consumer waits for it, and does not end.
    assert_eq!(error(strict.claim_one(request(2)).await), (K::Config, R::Safe));
    assert_eq!(error(strict.settle_one(done(&lease)).await), (K::Config, R::Safe));
    assert_eq!(error(server.config().connect().await), (K::Config, R::Never));
    acquire(&lenient, request(2)).await;
    let weaknesses = lenient.describe().weaknesses;
    assert!(weaknesses.len() == 1 && weaknesses[0].contains("allkeys-lru"), "{weaknesses:?}");

    server.set("maxmemory-policy", "noeviction").await;
    complete(&strict, &lease).await;
    acquire(&lenient, request(3)).await;
    assert_eq!(lenient.describe().weaknesses, Vec::<String>::new());
}

/// With a connection that lives on, and a consumer that runs.
#[tokio::test]
async fn an_evicting_policy_that_appears_at_run_time_is_waited_out() {
    let server = or_return!(Server::start(&[]).await);
    let store = server.config().with_check_interval(Duration::from_millis(300)).connect().await.unwrap();
    let connections = server.info("total_connections_received").await;
    server.set("maxmemory", "100mb").await;
    server.set("maxmemory-policy", "volatile-lru").await;
    let mut n = 0;
    until("it is noticed", async || {
        n += 1;
        store.claim_one(request(n)).await.is_err_and(|e| (e.kind(), e.repeat()) == (K::Config, R::Safe))
    })
    .await;
    for _ in 0..50 {
        assert_eq!(error(store.claim_one(request(n)).await), (K::Config, R::Safe));
    }
    let now: u64 = server.info("total_connections_received").await.parse().unwrap();
    let tests_own = now - connections.parse::<u64>().unwrap();
    assert_eq!(tests_own, 3, "two settings and this question; the store's connection lives on");
    server.set("maxmemory-policy", "noeviction").await;
    until("it works again", async || store.claim_one(request(n)).await.is_ok()).await;
}

#[tokio::test]
async fn a_password_that_changes_at_run_time_is_waited_for() {
    let mut server = or_return!(Server::start(&[]).await);
    let store = server.config().connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    server.crash_and_start(&["--requirepass", "other"]);
    server.wait_until_up().await;
    until("it is noticed", async || {
        store.settle_one(done(&lease)).await.is_err_and(|e| (e.kind(), e.repeat()) == (K::Config, R::Safe))
    })
    .await;
    server.crash();
    server.wait_until_up().await;
    until("it works again", async || store.settle_one(done(&lease)).await.is_ok()).await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_at_run_time_is_waited_for() {
    let server = or_return!(Server::start(&[]).await);
    server.say::<()>("ACL SETUSER app on >pw ~* +@all").await.unwrap();
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port);
    let store = RedisConfig::new(url).connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    server.say::<()>("ACL SETUSER app -hset").await.unwrap();
    // A script may have got as far as that: the same settlement is safe to repeat.
    assert_eq!(error(store.settle_one(done(&lease)).await), (K::Config, R::Unknown));
    server.say::<()>("ACL SETUSER app +@all").await.unwrap();
    complete(&store, &lease).await;
}

/// A script that fails midway has applied the requests before the failure; the same batch, sent again, is answered as the first time.
#[tokio::test]
async fn a_batch_that_failed_midway_is_applied_once() {
    let server = or_return!(Server::start(&[]).await);
    server.say::<()>("ACL SETUSER app on >pw ~* +@all").await.unwrap();
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port);
    let store = RedisConfig::new(url).connect().await.unwrap();
    acquire(&store, request("before")).await;
    // Asked for with every fourth new record.
    server.say::<()>("ACL SETUSER app -hlen").await.unwrap();
    let requests: Vec<_> = (0..50).map(request).collect();
    assert_eq!(error(store.claim(&requests).await), (K::Config, R::Unknown));
    server.say::<()>("ACL SETUSER app +hlen").await.unwrap();
    let applied = store.stats().await.unwrap().claimed - 1;
    assert!(applied > 0 && applied < 50, "{applied}");
    let leases: Vec<_> = store.claim(&requests).await.unwrap().into_iter().map(acquired).collect();
    assert!(leases.iter().all(|lease| lease.attempt == 1), "{leases:?}");
}

#[tokio::test]
async fn a_server_that_cannot_write_its_snapshot_is_waited_for() {
    let server = or_return!(
        Server::start(&["--appendonly", "no", "--save", "3600 1", "--enable-protected-configs", "yes"]).await
    );
    let store = server.config().connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    let gone = tempfile::TempDir::new().unwrap();
    server.set("dir", gone.path().to_str().unwrap()).await;
    drop(gone);
    server.say::<()>("BGSAVE").await.unwrap();
    until("the snapshot has failed", async || server.info("rdb_last_bgsave_status").await == "err").await;
    assert_eq!(error(store.claim_one(request(2)).await), (K::Unavailable, R::Safe));
    assert_eq!(error(store.settle_one(done(&lease)).await), (K::Unavailable, R::Safe));
    server.set("stop-writes-on-bgsave-error", "no").await;
    complete(&store, &lease).await;
    acquire(&store, request(2)).await;
}

#[tokio::test]
async fn persistence_that_is_switched_off_at_run_time_is_listed() {
    let server = or_return!(Server::start(&[]).await);
    let store = watchful(server.config()).connect().await.unwrap();
    assert_eq!(store.describe().weaknesses, Vec::<String>::new());
    server.set("appendfsync", "no").await;
    acquire(&store, request(1)).await;
    assert!(store.describe().weaknesses[0].contains("appendfsync no"), "{:?}", store.describe());
    server.set("appendonly", "no").await;
    acquire(&store, request(2)).await;
    assert!(store.describe().weaknesses[0].contains("appendonly no"), "{:?}", store.describe());
}

#[tokio::test]
async fn a_server_that_forgets_at_restart_says_so() {
    let server = or_return!(Server::start(&["--appendonly", "no"]).await);
    let weaknesses = server.config().connect().await.unwrap().describe().weaknesses;
    assert!(weaknesses.len() == 1 && weaknesses[0].contains("appendonly no"), "{weaknesses:?}");
}

#[tokio::test]
async fn a_server_that_became_a_replica_takes_nothing() {
    let (Some(old), Some(new)) = (Server::start(&[]).await, Server::start(&[]).await) else { return };
    let store = old.config().connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    old.say::<()>(&format!("REPLICAOF 127.0.0.1 {}", new.port)).await.unwrap();
    assert_eq!(error(store.claim_one(request(2)).await), (K::ReadOnly, R::Safe));
    assert_eq!(error(store.settle_one(done(&lease)).await), (K::ReadOnly, R::Safe));
    assert_eq!(error(old.config().connect().await), (K::ReadOnly, R::Safe));
    assert_eq!(error(old.config().with_unsafe(OnUnsafe::Downgrade).connect().await), (K::ReadOnly, R::Safe));
    // It dropped its own records when it copied those of its primary, as a failover may do.
    old.say::<()>("REPLICAOF NO ONE").await.unwrap();
    acquire(&store, request(2)).await;
}

#[tokio::test]
async fn a_loading_server_is_waited_for() {
    let mut server = or_return!(Server::start(&[]).await);
    let store = server.config().connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    let mut fill = redis::cmd("EVAL");
    fill.arg("for n = 1, 200000 do redis.call('SET', 'filler-' .. n, n) end").arg(0);
    fill.query_async::<()>(&mut server.beside().await.unwrap()).await.unwrap();
    // So many microseconds for each command that it loads; every 1024 it answers who has asked.
    server.crash_and_start(&["--key-load-delay", "100"]);
    until("it is up and loads", async || {
        let ping = server.say::<String>("PING").await;
        ping.is_err_and(|e| e.code() == Some("LOADING"))
    })
    .await;
    // The first one may find that the connection is gone.
    assert_eq!(error(store.claim_one(request(2)).await).0, K::Unavailable);
    assert_eq!(error(store.claim_one(request(2)).await), (K::Unavailable, R::Safe));
    assert_eq!(error(store.settle_one(done(&lease)).await), (K::Unavailable, R::Safe));
    assert_eq!(error(server.config().connect().await), (K::Unavailable, R::Safe));
    server.crash();
    server.wait_until_up().await;
    complete(&store, &lease).await;
    acquire(&store, request(2)).await;
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_and_safe_to_ask_again() {
    let mut server = or_return!(Server::start(&[]).await);
    let store = server.config().connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    let nowhere = RedisConfig::new(format!("redis://127.0.0.1:{}/", common::free_port()));
    assert_eq!(error(nowhere.connect().await), (K::Unavailable, R::Safe));
    server.crash();
    server.wait_until_up().await;
    // It was not told that the connection is gone; either it finds out with this request, or found out before.
    match store.claim_one(request(2)).await {
        Ok(answer) => drop(acquired(answer)),
        Err(error) => assert_eq!(error.kind(), K::Unavailable, "{error}"),
    }
    complete(&store, &lease).await;
}

#[tokio::test]
async fn a_server_busy_with_a_script_is_waited_for() {
    let server = or_return!(Server::start(&["--busy-reply-threshold", "20"]).await);
    let store = server.config().connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    let endless = tokio::spawn({
        let mut beside = server.beside().await.unwrap();
        async move { redis::cmd("EVAL").arg("while true do end").arg(0).query_async::<()>(&mut beside).await }
    });
    until("it is busy", async || server.say::<String>("PING").await.is_err_and(|e| e.code() == Some("BUSY")))
        .await;
    assert_eq!(error(store.claim_one(request(2)).await), (K::Unavailable, R::Safe));
    assert_eq!(error(store.settle_one(done(&lease)).await), (K::Unavailable, R::Safe));
    assert_eq!(error(server.config().connect().await), (K::Unavailable, R::Safe));
    server.say::<()>("SCRIPT KILL").await.unwrap();
    endless.await.unwrap().unwrap_err();
    complete(&store, &lease).await;
    acquire(&store, request(2)).await;
}

#[tokio::test]
async fn too_few_replicas_leave_it_unknown() {
    let primary = or_return!(Server::start(&[]).await);
    let of = format!("127.0.0.1 {}", primary.port);
    let replica = or_return!(Server::start(&["--replicaof", &of]).await);
    until("it replicates", async || replica.info("master_link_status").await == "up").await;
    let replicas = Replicas { count: 1, timeout: Duration::from_millis(200) };
    let store = primary.config().with_replicas(replicas).connect().await.unwrap();
    assert!(store.describe().weaknesses[0].contains("failover"), "{:?}", store.describe());

    replica.pause();
    let claim = request(1);
    assert_eq!(error(store.claim_one(claim.clone()).await), (K::Unavailable, R::Unknown));
    replica.resume();
    let lease = acquire(&store, claim).await;
    assert_eq!(lease.attempt, 1, "the same claim is answered as the first time");

    replica.pause();
    assert_eq!(error(store.settle_one(done(&lease)).await), (K::Unavailable, R::Unknown));
    replica.resume();
    assert_eq!(store.settle_one(done(&lease)).await.unwrap(), Settled::Yes);
    assert!(matches!(store.claim_one(request(1)).await.unwrap(), Claimed::Done(_)));
}

/// Somebody empties the database under running clients, and a newcomer makes another secret for the digests.
#[tokio::test]
async fn clients_from_before_and_after_a_flush_meet_in_the_same_records() {
    let server = or_return!(Server::start(&[]).await);
    let before = server.config().connect().await.unwrap();
    acquire(&before, request("forgotten")).await;
    server.say::<()>("FLUSHALL").await.unwrap();
    let after = server.config().connect().await.unwrap();
    let keys: Vec<_> = (1..41).map(common::key).chain(common::crowd(150)).collect();
    let (first, second) = keys.split_at(keys.len() / 2);
    for (store, keys) in [(&before, first), (&after, second)] {
        let claims = keys.iter().map(common::request_for).collect::<Vec<_>>();
        for lease in store.claim(&claims).await.unwrap().into_iter().map(acquired) {
            complete(store, &lease).await;
        }
    }
    for store in [&before, &after] {
        let claims = keys.iter().map(common::request_for).collect::<Vec<_>>();
        let answers = store.claim(&claims).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Claimed::Done(_))), "{answers:?}");
        assert_eq!(store.stats().await.unwrap().done, 190);
        assert!(
            store.look(&keys[0]).await.unwrap().is_some() && store.look(&keys[60]).await.unwrap().is_some()
        );
    }
}
