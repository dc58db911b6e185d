//! A runner on a Redis that is frozen, killed, cut off and made to forget its scripts: every message takes
//! effect once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, RecordOnly, SettledAs};
use ackonce::store::{Inspect, State};
use ackonce::{Backoff, Class, Context, Failure, Keyed, Runner, Scope, Settings};
use ackonce_redis::RedisStore;
use common::{Server, key, until};
use tokio::task::JoinSet;

const MESSAGES: u32 = 3000;

struct Order(u32);

impl Delivery for Order {
    type Message = u32;
    fn message(&self) -> u32 {
        self.0
    }
}

///  The calls of the handler's target: the idempotency keys of each message, and the number of calls.
#[derive(Default)]
struct Target {
    keys: BTreeMap<u32, BTreeSet<String>>,
    calls: u32,
}

type Seen = Arc<Mutex<Target>>;

fn runner(store: RedisStore, lease: Duration, seen: &Seen) -> Runner<Order, impl ackonce::Handler<u32>> {
    let seen = seen.clone();
    let handler = move |cx: Context, order: u32| {
        let seen = seen.clone();
        async move {
            let mut target = seen.lock().unwrap();
            target.calls += 1;
            target.keys.entry(order).or_default().insert(cx.idempotency_key("charge"));
            Ok::<_, Failure>(())
        }
    };
    let backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) };
    // Attempts are charged to messages whose store dies under them; here that is nearly every one.
    let settings = Settings::default().with_lease(lease).with_backoff(backoff).with_attempts(1000);
    let scope = Scope::new("orders/charge").unwrap();
    Runner::with(Arc::new(store), &scope, Keyed(handler), settings, Arc::new(RecordOnly)).unwrap()
}

async fn patient_store(server: &Server) -> RedisStore {
    server.config().with_response_timeout(Duration::from_millis(300)).connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_frozen_past_its_timeout_runs_once_within_its_lease() {
    let server = or_return!(Server::start(&[]).await);
    let seen = Seen::default();
    let runner = runner(patient_store(&server).await, Duration::from_secs(600), &seen);
    server.pause();
    let first = tokio::spawn({
        let runner = runner.clone();
        async move { runner.process(Job::new(key(1), Order(1))).await }
    });
    // The first try has timed out for certain, and the request waits in the server's socket.
    until("the claim has timed out", async || runner.counts().store_unavailable >= 2).await;
    server.resume();
    let receipt = first.await.unwrap().unwrap();
    assert_eq!(receipt.how(), SettledAs::Run);
    let again = runner.process(Job::new(key(1), Order(1))).await.unwrap();
    assert!(matches!(again.how(), SettledAs::Duplicate { .. }), "{:?}", again.how());
    assert_eq!(seen.lock().unwrap().calls, 1);
    // Nobody had to wait for a lease to end: the late copies of the claim are its repetitions, not rivals.
    assert_eq!((runner.counts().busy, again.record().unwrap().attempt), (0, 1));
}

/// The faults of the server.
#[derive(Debug, Default)]
struct Done {
    flushes: u32,
    cuts: u32,
    kills: u32,
}

/// Flushes the scripts every 100 ms, cuts all connections every 300, kills it every 1500; until told to stop.
async fn nemesis(mut server: Server, stop: tokio::sync::watch::Receiver<bool>) -> (Server, Done) {
    let mut done = Done::default();
    for round in 1_u32.. {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if *stop.borrow() {
            break;
        }
        // These fail while it loads.
        done.flushes += u32::from(server.say::<()>("SCRIPT FLUSH").await.is_ok());
        if round % 3 == 0 {
            done.cuts += server.say::<u32>("CLIENT KILL TYPE normal").await.unwrap_or_default().min(1);
        }
        if round % 15 == 0 {
            server.crash();
            server.wait_until_up().await;
            done.kills += 1;
        }
    }
    (server, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_messages_are_neither_lost_nor_doubled_while_the_server_is_tormented() {
    let server = or_return!(Server::start(&[]).await);
    let seen = Seen::default();
    let runner = runner(patient_store(&server).await, Duration::from_secs(2), &seen);
    let guarantee = runner.announce();
    assert_eq!((guarantee.class, guarantee.store.weaknesses.len()), (Class::Keyed, 0), "{guarantee}");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    // Every message is delivered twice, the copies close together.
    let deliver = async {
        let mut deliveries = JoinSet::new();
        for n in 0..MESSAGES {
            for _ in 0..2 {
                let runner = runner.clone();
                deliveries
                    .spawn(async move { runner.process(Job::new(key(n), Order(n))).await.unwrap().how() });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let how = deliveries.join_all().await;
        stop.send(true).unwrap();
        how
    };
    let (how, (mut server, done)) = tokio::join!(deliver, nemesis(server, stopped));

    let runs = how.iter().filter(|how| **how == SettledAs::Run).count();
    let target = std::mem::take(&mut *seen.lock().unwrap());
    println!("{done:?}, {} calls for {MESSAGES} messages, {runs} recorded by their own run", target.calls);
    assert!(done.flushes > 9 && done.cuts > 3 && done.kills > 1, "{done:?}");
    assert!(runner.counts().store_unavailable > 0, "the store was never in trouble");
    assert_eq!(target.keys.len(), usize::try_from(MESSAGES).unwrap(), "lost");
    assert!(
        target.keys.values().all(|keys| keys.len() == 1),
        "a target that honours the key would have doubled"
    );
    // Acknowledged records are on the disk: one more crash forgets none.
    server.crash();
    server.wait_until_up().await;
    let store = server.config().connect().await.unwrap();
    for n in 0..MESSAGES {
        assert_eq!(
            store.look(&key(n)).await.unwrap().map(|entry| entry.record.state),
            Some(State::Done),
            "message {n}"
        );
    }
    assert_eq!(store.stats().await.unwrap().done, u64::from(MESSAGES));
}
