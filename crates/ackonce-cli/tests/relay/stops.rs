//! A relay that is stopped under load, and one whose reader leaves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ackonce::store::{Inspect, Stats};
use ackonce_sqlite::SqliteStore;
use ackonce_tests::until;

use crate::drains::Drain;
use crate::effects;
use crate::feeds::{Feed, relay};
use crate::running::Running;

const MESSAGES: usize = 3000;

async fn stats(dir: &Path) -> Stats {
    SqliteStore::open(dir.join("dedup.db")).unwrap().stats().await.unwrap()
}

/// A case with each broker as its source.
macro_rules! of_each_broker {
    ($($case:ident: $of_kafka:ident, $of_rabbitmq:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $of_kafka() {
            let Some(feed) = Feed::kafka().await else { return };
            $case(feed).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $of_rabbitmq() {
            let Some(feed) = Feed::rabbit().await else { return };
            $case(feed).await;
        }
    )*};
}

of_each_broker! {
    drains: sigterm_under_load_leaves_nothing_claimed, sigterm_under_load_leaves_nothing_claimed_of_rabbitmq;
    gives_up: a_sink_slower_than_the_shutdown_timeout_leaves_nothing_claimed,
        a_sink_slower_than_the_shutdown_timeout_leaves_nothing_claimed_of_rabbitmq;
}

async fn drains(feed: Feed) {
    let dir = tempfile::tempdir().unwrap();
    let drain = Drain::http(dir.path());
    let Drain::Http { address, dir: effects } = &drain else { return };
    publish(&feed).await;
    let _sink = Running::start(effects::http_sink(address, effects).env(effects::SLOW, "30"));
    let mut command = relay(&feed.url(0), &drain.url(), dir.path());
    command.args(["--order", "none", "--lease", "30s"]);
    let mut first = Running::start(&mut command);
    until("messages are under way", || effects::read(effects).len() >= 50).await;
    assert_eq!(first.terminate(), Some(0));
    let left = stats(dir.path()).await;
    assert_eq!(left.claimed, 0, "{left:?}");
    assert!(left.done < MESSAGES as u64, "it was under load: {left:?}");
    rest(&mut command, effects).await;
}

/// The relay ends at its deadline, with every message at the sink.
async fn gives_up(feed: Feed) {
    let dir = tempfile::tempdir().unwrap();
    let drain = Drain::http(dir.path());
    let Drain::Http { address, dir: effects } = &drain else { return };
    publish(&feed).await;
    let slow = Running::start(effects::http_sink(address, effects).env(effects::SLOW, "300000"));
    let mut command = relay(&feed.url(0), &drain.url(), dir.path());
    command.args(["--order", "none", "--lease", "5m", "--timeout", "5m", "--shutdown-timeout", "2s"]);
    let mut first = Running::start(&mut command);
    let end = Instant::now() + Duration::from_secs(120);
    while stats(dir.path()).await.claimed < 50 {
        assert!(Instant::now() < end, "waited two minutes: messages are under way");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(first.terminate(), Some(0));
    let left = stats(dir.path()).await;
    assert_eq!((left.claimed, left.done), (0, 0), "{left:?}");
    drop(slow);
    let _sink = Running::start(&mut effects::http_sink(address, effects));
    rest(&mut command, effects).await;
}

async fn publish(feed: &Feed) {
    let ids: Vec<_> = (0..MESSAGES).map(|n| format!("m{n}")).collect();
    feed.publish(&ids).await;
}

/// A second relay delivers the rest, and nothing twice.
async fn rest(relay: &mut std::process::Command, effects: &Path) {
    let mut second = Running::start(relay);
    until("the rest is done", || effects::read(effects).len() == MESSAGES).await;
    assert_eq!(second.terminate(), Some(0));
    assert!(effects::read(effects).values().all(|keys| keys.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_the_relay_without_an_acknowledgement() {
    let Some(feed) = Feed::kafka().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<_> = (0..500).map(|n| format!("m{n}")).collect();
    let mut relay = relay(&feed.url(0), "stdout:", dir.path());
    let mut child = relay.args(["--order", "none"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    feed.publish(&ids).await;
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!feed.is_through(500).await);
    let store = SqliteStore::open(dir.path().join("dedup.db")).unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.done, stats.claimed), (0, 0), "{stats:?}");
}

/// One that sends nothing, and one of which not even the version can be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_sends_nothing_is_let_go() {
    let feed = Feed::webhook();
    let Feed::Webhook(address) = &feed else { return };
    let dir = tempfile::tempdir().unwrap();
    let _relay = Running::start(relay(&feed.url(0), "stdout:", dir.path()).stdout(Stdio::null()));
    feed.publish(&["first".to_owned()]).await;
    let silent = ["", "PRI * HTTP/2", "POST /hook HTTP/1.1\r\nhost: a\r\nx-slow: "].map(|sent| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(sent.as_bytes()).unwrap();
        tokio::task::spawn_blocking(move || drop(client.read_to_end(&mut Vec::new())))
    });
    for ended in silent {
        tokio::time::timeout(Duration::from_secs(90), ended).await.expect("it is let go").unwrap();
    }
    feed.publish(&["second".to_owned()]).await;
}
