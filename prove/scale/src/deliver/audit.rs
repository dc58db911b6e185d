//! The audit: each message took effect, and a second effect has a kill that explains it.

use std::collections::{HashMap, HashSet};

use ackonce::store::{Filter, Inspect as _, Query, State};
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::crash::{EventKind, History};
use anyhow::{Context as _, Result};
use serde::Serialize;

use super::worker::{CONCURRENCY, EFFECT};
use super::{Order, message};

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Delivered {
    store: &'static str,
    class: &'static str,
    pub(super) seed: u64,
    deliveries: u64,
    messages: u64,
    effects: u64,
    kills: u64,
    lost: u64,
    doubled: u64,
    /// One of the effects was among the last ones of a process that was killed, not older than its handlers in flight.
    doubled_explained: u64,
    /// Messages with effects under different keys, and keys of different messages.
    doubled_by_key: u64,
    /// Deliveries that were not acknowledged, and records that are claimed or released.
    stuck: u64,
    pub(super) seconds: u64,
    versions: Vec<String>,
}

impl Delivered {
    pub(super) fn is_kept(&self) -> bool {
        [self.lost, self.doubled - self.doubled_explained, self.doubled_by_key, self.stuck] == [0; 4]
    }
}

/// Effects of a message so far.
#[derive(Clone, Copy, Default)]
struct Seen {
    times: u32,
    key: u64,
    at_a_death: bool,
}

pub(super) async fn audit(order: &Order, history: &History) -> Result<Delivered> {
    let messages = (0..order.deliveries).map(message).max().map_or(0, |last| last + 1);
    let mut seen = vec![Seen::default(); usize::try_from(messages)?];
    let killed: HashSet<u32> = history
        .events
        .iter()
        .filter(|event| event.kind == EventKind::Killed)
        .map(|event| event.pid)
        .collect();
    let (mut effects, mut other_keys) = (0, 0);
    for pid in history.events.iter().filter(|event| event.kind == EventKind::Started).map(|event| event.pid) {
        let Ok(file) = std::fs::read(order.effects(pid)) else { continue };
        let entries = file.chunks_exact(EFFECT);
        let count = entries.len();
        for (n, entry) in entries.enumerate() {
            let (number, key) = entry.split_at(8);
            let number = usize::try_from(u64::from_le_bytes(number.try_into()?))?;
            let (key, one) =
                (u64::from_le_bytes(key.try_into()?), seen.get_mut(number).context("a message of this run")?);
            other_keys += u64::from(one.times > 0 && one.key != key);
            *one = Seen {
                times: one.times + 1,
                key,
                at_a_death: one.at_a_death || (killed.contains(&pid) && n + 2 * CONCURRENCY >= count),
            };
            effects += 1;
        }
    }
    let count = |is: &dyn Fn(&Seen) -> bool| seen.iter().filter(|one| is(one)).count() as u64;
    Ok(Delivered {
        store: "sqlite",
        class: "keyed",
        deliveries: order.deliveries,
        messages,
        effects,
        kills: history.kills() as u64,
        lost: count(&|one| one.times == 0),
        doubled: count(&|one| one.times > 1),
        doubled_explained: count(&|one| one.times > 1 && one.at_a_death),
        doubled_by_key: other_keys + shared(&seen),
        stuck: order.deliveries - order.acknowledged() + unsettled(order).await?,
        versions: crate::versions(),
        ..Delivered::default()
    })
}

/// Keys that several messages have had. 64 bits of ten million keys meet by chance once in 400,000 runs.
fn shared(seen: &[Seen]) -> u64 {
    let mut keys: HashMap<u64, u32> = HashMap::with_capacity(seen.len());
    for one in seen.iter().filter(|one| one.times > 0) {
        *keys.entry(one.key).or_default() += 1;
    }
    keys.values().filter(|times| **times > 1).count() as u64
}

/// Records that nobody has settled.
async fn unsettled(order: &Order) -> Result<u64> {
    let store = SqliteStore::open(order.store())?;
    let mut count = 0;
    for state in [State::Claimed, State::Released] {
        let filter = Filter { state: Some(state), ..Filter::default() };
        let mut query = Query { filter, limit: 1000, after: None };
        loop {
            let page = store.list(&query).await?;
            count += page.entries.len() as u64;
            let Some(after) = page.next else { break };
            query.after = Some(after);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ackonce_testkit::crash::FleetEvent;

    use super::*;

    /// Message and key of each effect, by process; process 2 was killed.
    async fn audited(effects: &[(u32, &[(u64, u64)])]) -> Delivered {
        let dir = tempfile::tempdir().unwrap();
        let order = Order { dir: dir.path().to_owned(), deliveries: 5, workers: 1, worker: 0 };
        let event = |pid, kind| FleetEvent { pid, worker: 0, kind, from: 0, to: 0 };
        let mut events = vec![event(2, EventKind::Killed)];
        for (pid, entries) in effects {
            let bytes =
                entries.iter().flat_map(|(message, key)| [message.to_le_bytes(), key.to_le_bytes()].concat());
            std::fs::write(order.effects(*pid), bytes.collect::<Vec<_>>()).unwrap();
            events.push(event(*pid, EventKind::Started));
        }
        std::fs::write(order.acks(0), [0; 40]).unwrap();
        audit(&order, &History { seed: 0, events }).await.unwrap()
    }

    #[tokio::test]
    async fn a_second_effect_needs_a_kill_and_the_same_key() {
        let good: &[(u64, u64)] = &[(0, 10), (1, 11), (2, 12), (3, 13)];
        assert!(audited(&[(1, good)]).await.is_kept());
        assert!(audited(&[(2, &[(3, 13)]), (1, good)]).await.is_kept(), "explained");
        assert!(!audited(&[(3, &[(3, 13)]), (1, good)]).await.is_kept(), "doubled");
        assert!(!audited(&[(2, &[(3, 14)]), (1, good)]).await.is_kept(), "under another key");
        assert!(!audited(&[(1, &[(0, 10), (1, 10), (2, 12), (3, 13)])]).await.is_kept(), "a shared key");
        assert!(!audited(&[(1, &good[1..])]).await.is_kept(), "lost");
    }
}
