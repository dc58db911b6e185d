//! A relay that is stopped under load, and one whose sink is away.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ackonce::store::Inspect;
use ackonce_sqlite::SqliteStore;
use ackonce_tests::until;
use rustix::process::{Pid, Signal, kill_process};

use crate::drains::Drain;
use crate::effects;
use crate::feeds::{Feed, relay};

/// A process that is killed when its test ends.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// SIGTERM; its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }

    /// Processor time so far in ticks of 10 ms, and resident memory in pages of 4 KiB.
    fn usage(&self) -> (u64, u64) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<u64> = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .map(|field| field.trim().parse().unwrap_or(0))
            .collect();
        (fields[11] + fields[12], fields[21])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_leaves_nothing_claimed() {
    let Some(feed) = Feed::kafka().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let drain = Drain::http(dir.path());
    let Drain::Http { address, dir: effects } = &drain else { return };
    let ids: Vec<_> = (0..3000).map(|n| format!("m{n}")).collect();
    feed.publish(&ids).await;
    let _sink = Running::start(effects::http_sink(address, effects).env(effects::SLOW, "30"));
    let mut command = relay(&feed.url(0), &drain.url(), dir.path());
    command.args(["--order", "none", "--lease", "30s"]);
    let mut first = Running::start(&mut command);
    until("messages are under way", || effects::read(effects).len() >= 50).await;
    assert_eq!(first.terminate(), Some(0));
    let store = SqliteStore::open(dir.path().join("dedup.db")).unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.claimed, 0, "{stats:?}");
    assert!(stats.done < 3000, "it was under load: {stats:?}");
    drop(store);
    let mut second = Running::start(&mut command);
    until("the rest is done", || effects::read(effects).len() == 3000).await;
    assert_eq!(second.terminate(), Some(0));
    assert!(effects::read(effects).values().all(|keys| keys.len() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_costs_nothing_and_loses_nothing() {
    let Some(feed) = Feed::kafka().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let drain = Drain::http(dir.path());
    let Drain::Http { address, dir: effects } = &drain else { return };
    let ids: Vec<_> = (0..5000).map(|n| format!("m{n}")).collect();
    feed.publish(&ids).await;
    let mut command = relay(&feed.url(0), &drain.url(), dir.path());
    let mut relay = Running::start(command.args(["--order", "key", "--backoff", "100ms..2s"]));
    // Until it has taken in as much as it does.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (time, memory) = relay.usage();
    assert!(memory > 0, "it has ended");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (time, memory) = (relay.usage().0 - time, relay.usage().1.saturating_sub(memory));
    println!("6 s without a sink: {} ms of processor time, {} KiB more memory", time * 10, memory * 4);
    assert!(memory * 4 < 64 << 10, "it grows");
    assert!(time < 300, "it spins");
    let _sink = Running::start(&mut effects::http_sink(address, effects));
    until("all took effect", || effects::read(effects).len() == 5000).await;
    assert_eq!(relay.terminate(), Some(0));
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
