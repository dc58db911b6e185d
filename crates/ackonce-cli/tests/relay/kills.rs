//! A hundred kills of relays and sinks at random, and pauses beside them, for each pair of a source and a sink: nothing is
//! lost, and a sink that honours the key sees each message once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_testkit::crash::{Faults, Fleet, Progress};

use crate::drains::Drain;
use crate::effects;
use crate::feeds::{Feed, relay};

/// Kills of one run, of relays and sink together. Pauses go on beside them until then.
const KILLS: usize = 100;

macro_rules! survives {
    ($($name:ident($dir:ident): $feed:expr => $drain:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let place = tempfile::tempdir().unwrap();
            let $dir = place.path();
            let (Some(feed), Some(drain)) = ($feed, $drain) else { return };
            survive(&feed, &drain, $dir, stringify!($name).len() as u64).await;
        }
    )*};
}

survives! {
    kafka_to_http(dir): Feed::kafka().await => Some(Drain::http(dir));
    rabbitmq_to_http(dir): Feed::rabbit().await => Some(Drain::http(dir));
    webhook_to_kafka(dir): Some(Feed::webhook()) => Drain::kafka().await;
    kafka_to_exec(dir): Feed::kafka().await => Some(Drain::exec(dir));
    kafka_to_kafka(dir): Feed::kafka().await => Drain::kafka().await;
    rabbitmq_to_rabbitmq(dir): Feed::rabbit().await => Drain::rabbit().await;
}

async fn survive(feed: &Feed, drain: &Drain, dir: &std::path::Path, seed: u64) {
    let (published, through) = (AtomicBool::new(false), AtomicBool::new(false));
    // A sink of ours is killed as often as the relays; brokers are not ours to kill here.
    let healing = CancellationToken::new();
    let sink = sink(drain, dir, seed).map(|sink| sink.with_healing(healing.clone()));
    let relays = relays(feed, drain, dir, seed).with_healing(healing.clone());
    let (of_relays, of_sink) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |kills: &AtomicUsize, so_far: usize| {
        kills.store(so_far, Ordering::SeqCst);
        if of_relays.load(Ordering::SeqCst) + of_sink.load(Ordering::SeqCst) >= KILLS {
            healing.cancel();
        }
    };
    let publishing = async {
        feed.publish_slowly().await;
        published.store(true, Ordering::SeqCst);
    };
    let relaying = relays.run(async |progress| {
        count(&of_relays, progress.kills);
        let all = healing.is_cancelled() && published.load(Ordering::SeqCst);
        let done = all && feed.is_through(Feed::messages()).await;
        through.store(done, Ordering::SeqCst);
        done
    });
    let sinking = async {
        let sink = sink.as_ref()?;
        let until = async |progress: Progress| {
            count(&of_sink, progress.kills);
            through.load(Ordering::SeqCst)
        };
        Some(sink.run(until).await)
    };
    let (relayed, sunk, ()) = tokio::join!(relaying, sinking, publishing);
    let relayed = relayed.unwrap_or_else(|e| panic!("{e}"));
    let sunk = sunk.map(|sunk| sunk.unwrap_or_else(|e| panic!("{e}")));
    let histories: Vec<_> = [Some(relayed), sunk].into_iter().flatten().collect();
    let of_each: Vec<_> = histories.iter().map(|history| (history.kills(), history.pauses())).collect();
    println!("kills and pauses of relays, and of a sink: {of_each:?}");
    assert!(of_each.iter().map(|(kills, _)| kills).sum::<usize>() >= KILLS, "{of_each:?}");
    assert!(of_each.iter().all(|(_, pauses)| *pauses > 0), "{of_each:?}");
    let keys = drain.keys().await;
    let lost: Vec<_> = Feed::ids().into_iter().filter(|id| !keys.contains_key(id)).collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    let doubled: Vec<_> = keys.iter().filter(|(_, keys)| keys.len() != 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    assert_eq!(keys.len(), Feed::ids().len());
}

fn relays(feed: &Feed, drain: &Drain, dir: &std::path::Path, seed: u64) -> Fleet {
    let urls: Vec<_> = (0..feed.relays()).map(|n| feed.url(n)).collect();
    let (to, place) = (drain.url(), dir.to_path_buf());
    let effects = match drain {
        Drain::Exec(dir) => Some(dir.clone()),
        _ => None,
    };
    let fleet = Fleet::new(dir.join("relays"), feed.relays(), move |n| {
        let mut command = relay(&urls[n], &to, &place);
        if let Some(effects) = &effects {
            // Each is a process: not more than the machine takes.
            command.args(["--concurrency", "4"]).env(effects::EXEC, effects).env(effects::DIES, "1");
        }
        command
    });
    let faults = Faults {
        kill_every: Some(Duration::from_millis(150)..=Duration::from_millis(450)),
        pause_every: Some(Duration::from_secs(2)..=Duration::from_secs(4)),
        // Longer than the lease.
        pause_for: Duration::from_millis(1200)..=Duration::from_millis(1800),
        ..Faults::default()
    };
    fleet
        .with_seed(seed)
        .with_faults(faults)
        .with_bound(Duration::from_secs(240))
        .with_grace(Duration::from_secs(30))
}

fn sink(drain: &Drain, dir: &std::path::Path, seed: u64) -> Option<Fleet> {
    let Drain::Http { address, dir: effects } = drain else { return None };
    let (address, effects) = (address.clone(), effects.clone());
    let fleet = Fleet::new(dir.join("sink"), 1, move |_| effects::http_sink(&address, &effects));
    let faults = Faults {
        kill_every: Some(Duration::from_millis(150)..=Duration::from_millis(450)),
        pause_every: Some(Duration::from_secs(2)..=Duration::from_secs(4)),
        pause_for: Duration::from_millis(300)..=Duration::from_millis(900),
        ..Faults::default()
    };
    Some(fleet.with_seed(seed + 1).with_faults(faults).with_bound(Duration::from_secs(240)))
}
