//! The relay of an outbox as a program: killed together with its sink, drained, probed and checked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce_outbox::{Outgoing, SqliteOutbox};
use ackonce_sqlite::{SqliteStore, rusqlite};
use ackonce_testkit::crash::{Faults, Fleet};
use ackonce_tests::until;

use crate::effects;
use crate::feeds::free_address;
use crate::probes::ask;
use crate::running::Running;

/// Messages, and kills and pauses of relays and of the sink each.
const MESSAGES: usize = 1200;
const STRIKES: usize = 40;

/// An outbox in a file, and a sink.
#[derive(Clone)]
struct Place {
    file: PathBuf,
    outbox: SqliteOutbox,
    address: String,
    effects: PathBuf,
}

impl Place {
    async fn new(dir: &Path) -> Self {
        let (file, effects) = (dir.join("app.db"), dir.join("effects"));
        std::fs::create_dir(&effects).unwrap();
        let outbox = SqliteOutbox::open(&SqliteStore::open(&file).unwrap()).await.unwrap();
        Self { file, outbox, address: free_address(), effects }
    }

    fn publish(&self, numbers: std::ops::Range<usize>) {
        let mut conn = rusqlite::Connection::open(&self.file).unwrap();
        // Each millisecond: SQLite's own waiter starves beside two relays on a busy disk.
        conn.busy_handler(Some(|asked| {
            std::thread::sleep(Duration::from_millis(1));
            asked < 60_000
        }))
        .unwrap();
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        for n in numbers {
            let message = Outgoing::new("placed", n.to_string()).with_id(format!("m{n}"));
            self.outbox.publish(&tx, &message.with_key(format!("k{}", n % 30))).unwrap();
        }
        tx.commit().unwrap();
    }

    fn relay(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
        let from = format!("outbox:sqlite:{}", self.file.display());
        command.args(["relay", "--from", &from, "--to", &format!("http://{}/effects", self.address)]);
        command.args(["--lease", "1s", "--backoff", "20ms..200ms", "--attempts", "1000"]);
        command
    }

    fn is_empty(&self) -> bool {
        // Who asks resumes the relays, too, and must not wait for one that is paused in a transaction.
        let conn = rusqlite::Connection::open(&self.file).unwrap();
        conn.busy_timeout(Duration::ZERO).unwrap();
        conn.query_row("SELECT count(*) = 0 FROM ackonce_outbox", [], |row| row.get(0)).unwrap_or(false)
    }

    fn effects(&self) -> usize {
        effects::read(&self.effects).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_survives_kills_of_its_relays_and_of_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path()).await;
    let (published, through) = (AtomicBool::new(false), AtomicBool::new(false));
    let relays = struck(Fleet::new(dir.path().join("relays"), 2, {
        let (from, to) = (place.file.clone(), place.address.clone());
        let effects = place.effects.clone();
        let outbox = place.outbox.clone();
        move |_| {
            Place {
                file: from.clone(),
                outbox: outbox.clone(),
                address: to.clone(),
                effects: effects.clone(),
            }
            .relay()
        }
    }));
    let sink = struck(Fleet::new(dir.path().join("sink"), 1, {
        let (address, effects) = (place.address.clone(), place.effects.clone());
        move |_| effects::http_sink(&address, &effects)
    }));
    let publishing = async {
        for from in (0..MESSAGES).step_by(20) {
            // On a thread of its own: the fleet has to resume a relay that is paused with the file's lock.
            let place = place.clone();
            tokio::task::spawn_blocking(move || place.publish(from..from + 20)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        published.store(true, Ordering::SeqCst);
    };
    let relaying = relays.run(async |progress| {
        let is_struck = progress.kills + progress.pauses >= STRIKES;
        // A row may outlive its effect, if its relay was killed before it was removed: another one has to send it again.
        let is_through = place.effects() == MESSAGES && place.is_empty();
        let done = is_struck && published.load(Ordering::SeqCst) && is_through;
        through.store(done, Ordering::SeqCst);
        done
    });
    let sinking = sink.run(async |_| through.load(Ordering::SeqCst));
    let (relayed, sunk, ()) = tokio::join!(relaying, sinking, publishing);
    let (relayed, sunk) = (relayed.unwrap_or_else(|e| panic!("{e}")), sunk.unwrap_or_else(|e| panic!("{e}")));
    println!(
        "relays: {} kills, {} pauses; service: {} kills, {} pauses",
        relayed.kills(),
        relayed.pauses(),
        sunk.kills(),
        sunk.pauses()
    );
    assert!(effects::read(&place.effects).values().all(|keys| keys.len() == 1), "a message has one key");
}

fn struck(fleet: Fleet) -> Fleet {
    let faults = Faults {
        kill_every: Some(Duration::from_millis(150)..=Duration::from_millis(450)),
        pause_every: Some(Duration::from_secs(2)..=Duration::from_secs(4)),
        // Longer than the lease.
        pause_for: Duration::from_millis(1200)..=Duration::from_millis(1800),
        at_most: Some(STRIKES),
        ..Faults::default()
    };
    fleet
        .with_seed(7)
        .with_faults(faults)
        .with_bound(Duration::from_secs(240))
        .with_grace(Duration::from_secs(30))
}

#[tokio::test(flavor = "multi_thread")]
async fn its_state_is_told_and_sigterm_drains_it() {
    let dir = tempfile::tempdir().unwrap();
    let (place, admin) = (Place::new(dir.path()).await, free_address());
    place.publish(0..100);
    let mut relay = Running::start(place.relay().args(["--admin", &admin]));
    let says = |path: &str, part: &str| ask(&admin, path).is_some_and(|answer| answer.contains(part));
    until("the service is missed", || {
        says("/readyz", "503") && says("/readyz", "place to publish to is away")
    })
    .await;
    assert!(says("/healthz", "HTTP/1.1 200"));
    let _sink = Running::start(effects::http_sink(&place.address, &place.effects).env(effects::SLOW, "5"));
    until("all took effect", || place.effects() == 100).await;
    until("it is ready", || says("/readyz", "HTTP/1.1 200") && says("/readyz", "16 of 16 ranges held")).await;
    until("it has counted", || says("/metrics", "ackonce_outbox_published_total")).await;
    place.publish(100..2000);
    until("more is under way", || place.effects() > 150).await;
    assert_eq!(relay.terminate(), Some(0));
    let (sent, waiting) = (place.effects() as u64, place.outbox.lag().await.unwrap().waiting);
    assert_eq!(sent + waiting, 2000, "each message was confirmed and removed, or waits");
}
