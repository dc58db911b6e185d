//! The verdict: the logs of a run against the promise of its class.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ackonce::Class;
use ackonce_testkit::audit::{Audit, audit};
use ackonce_testkit::crash::EventKind;
use ackonce_testkit::ledger::LedgerEntry;
use serde::{Deserialize, Serialize};

use crate::broker::{BrokerKind, Commit, Published};
use crate::jumps::Jumps;
use crate::logs::Logs;
use crate::messages::{Trouble, key, number};
use crate::nemesis::FaultKind;
use crate::plan::Mode;

/// The figures of a run. checker.py computes those above the line again, from the same files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) deliveries: usize,
    pub(crate) messages: usize,
    pub(crate) effects: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    /// Messages with effects under different idempotency keys.
    pub(crate) doubled_by_key: usize,
    /// Effects of messages that were refused, or that nobody published.
    pub(crate) unasked: usize,
    /// Messages that took effect before an earlier one of their key (Kafka).
    pub(crate) out_of_order: usize,
    /// Commits past a message without an effect (Kafka).
    pub(crate) past_a_hole: usize,
    /// Deliveries that were not acknowledged within the bound, and records that nobody holds and nobody has settled.
    pub(crate) stuck: usize,
    // ——
    pub(crate) doubled_explained: usize,
    pub(crate) stale_effects: usize,
    pub(crate) kills: usize,
    pub(crate) crashes: usize,
    pub(crate) pauses: usize,
    pub(crate) points: BTreeMap<String, usize>,
    pub(crate) faults: BTreeMap<String, usize>,
    /// From the death of a worker to the effect of each message that it had begun, in milliseconds: median, 99th percentile.
    pub(crate) recovery_ms: (u64, u64),
    /// From the last fault until everything was settled.
    pub(crate) healing_ms: u64,
    /// The broken parts of the promise, in words; empty if it was kept.
    pub(crate) broken: Vec<String>,
    /// The same of a run with a fault that the promise does not cover: published, and no failure.
    #[serde(default)]
    pub(crate) measured: Vec<String>,
}

pub(crate) fn judge(logs: &Logs) -> Verdict {
    let mut published: BTreeMap<String, u64> = BTreeMap::new();
    for one in &logs.published {
        *published.entry(one.id.clone()).or_default() += 1;
    }
    let messages = published.len();
    let refused = |id: &str| number(id).map(Trouble::of) == Some(Trouble::Refused);
    let buried: Vec<_> = published.keys().filter(|id| refused(id)).cloned().collect();
    published.retain(|id, _| !refused(id));
    let mut found = audit(&published, &logs.effects, &logs.history);
    let late: BTreeSet<_> = logs.run.not_recorded.iter().cloned().collect();
    let jumps = Jumps::of(logs);
    found.explain(&logs.effects, |effect| {
        late.contains(&(effect.id.clone(), effect.fence)) || jumps.near(effect)
    });
    jumps.explain_stale(&mut found, &logs.effects);
    let history = &logs.history;
    let first = first_effects(&logs.effects);
    let commits = standing(&logs.commits, logs.run.faults.contains(&FaultKind::Recreate));
    let mut faults = BTreeMap::new();
    for fault in &logs.faults {
        *faults.entry(fault.kind.name()).or_default() += 1;
    }
    let unsettled = logs.run.records[0] + logs.run.records[1];
    let mut verdict = Verdict {
        deliveries: logs.published.len(),
        messages,
        effects: logs.effects.len(),
        lost: found.lost.len(),
        doubled: found.doubled.len(),
        doubled_by_key: found.doubled_keyed.len() + found.shared_keys.len(),
        unasked: found.unknown_ids.len(),
        out_of_order: if ordered(logs) { out_of_order(&logs.effects) } else { 0 },
        past_a_hole: if ordered(logs) { past_a_hole(&logs.published, commits, &first) } else { 0 },
        stuck: logs.run.left + usize::try_from(unsettled).unwrap_or(usize::MAX),
        doubled_explained: found.doubled.iter().filter(|doubled| doubled.explained()).count(),
        stale_effects: found.stale.len(),
        kills: history.kills(),
        crashes: history.crashes(),
        pauses: history.pauses(),
        points: points(logs),
        faults,
        recovery_ms: recovery(logs),
        healing_ms: logs.run.through.unwrap_or(logs.run.healed).saturating_sub(logs.run.healed) / 1000,
        broken: Vec::new(),
        measured: Vec::new(),
    };
    let broken = broken(logs, &verdict, &found, buried.len());
    if logs.run.faults.iter().any(|kind| kind.is_measured()) {
        verdict.measured = broken;
        // A record may have been set back to a claim whose delivery is acknowledged; a delivery has no excuse.
        if logs.run.left > 0 {
            verdict.broken.push(format!("{} deliveries were stuck", logs.run.left));
        }
    } else {
        verdict.broken = broken;
    }
    verdict
}

/// Each declared point, with the crashes there: a point without any was not tested.
fn points(logs: &Logs) -> BTreeMap<String, usize> {
    let hits = logs.history.points().into_iter().map(|(point, hits)| (point.to_owned(), hits));
    let mut points: BTreeMap<_, _> = logs.run.points.iter().map(|point| (point.clone(), 0)).collect();
    points.extend(hits);
    points
}

/// Effects of a topic come in the order of each key, and commits name a settled prefix.
fn ordered(logs: &Logs) -> bool {
    logs.run.broker == BrokerKind::Kafka && logs.run.mode != Mode::AtMostOnce
}

fn broken(logs: &Logs, verdict: &Verdict, found: &Audit, refused: usize) -> Vec<String> {
    let mut broken = Vec::new();
    if let Some(class) = logs.run.class() {
        broken.extend(found.keeps(class).err());
        let buried = usize::try_from(logs.run.records[3]).unwrap_or(usize::MAX);
        // At most once, a refusal is told and not buried.
        let (sure, perhaps) = logs.run.unreadable;
        // Without an ID each delivery is a record of its own.
        let most = if sure + perhaps > 0 { usize::MAX } else { refused };
        let asked = refused + sure..=most;
        if logs.run.through.is_some() && class != Class::AtMostOnce && !asked.contains(&buried) {
            broken.push(format!(
                "{buried} records are buried, and {refused} messages were refused, {sure} unreadable"
            ));
        }
    } else {
        let counts = [(verdict.lost, "messages were lost"), (verdict.doubled, "messages took effect twice")];
        broken.extend(
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
    }
    let forced = logs.history.count(|kind| *kind == EventKind::TerminatedByForce);
    for (count, what) in [
        (verdict.unasked, "messages took effect that were refused or not published"),
        (verdict.out_of_order, "messages took effect before an earlier one of their key"),
        (verdict.past_a_hole, "commits passed a message without an effect"),
        (verdict.stuck, "deliveries or records were stuck"),
        (forced, "workers did not end within their shutdown's time"),
        (
            logs.run.torn.saturating_sub(verdict.kills + verdict.crashes),
            "entries are torn and no kill explains them",
        ),
    ] {
        if count > 0 {
            broken.push(format!("{count} {what}"));
        }
    }
    if logs.run.mode == Mode::Inbox && logs.run.balance != Some(verdict.effects as u64) {
        broken.push(format!("the balance is {:?} after {} effects", logs.run.balance, verdict.effects));
    }
    broken
}

fn first_effects(effects: &[LedgerEntry]) -> HashMap<&str, u64> {
    let mut first = HashMap::new();
    for effect in effects {
        first.entry(&*effect.id).or_insert(effect.at);
    }
    first
}

fn out_of_order(effects: &[LedgerEntry]) -> usize {
    let (mut seen, mut last) = (BTreeSet::new(), HashMap::new());
    let mut wrong = 0;
    for number in effects.iter().filter_map(|effect| number(&effect.id)) {
        if seen.insert(number) {
            let last = last.entry(key(number)).or_insert(number);
            wrong += usize::from(number < *last);
            *last = number.max(*last);
        }
    }
    wrong
}

/// The commits of the topic that there is at the end. A commit names the topic and not its ID, so a consumer that has not heard
/// of a new topic may still give it an offset of the old one, which a later commit takes back. The last commit of a partition
/// stands, and counts.
fn standing(commits: &[Commit], is_recreated: bool) -> impl Iterator<Item = &Commit> {
    let last: BTreeMap<i32, _> = commits.iter().map(|commit| (commit.partition, &commit.topic)).collect();
    commits.iter().filter(move |commit| !is_recreated || last.get(&commit.partition) == Some(&&commit.topic))
}

/// Commits at whose time a message before them had no effect yet.
fn past_a_hole<'a>(
    published: &[Published],
    commits: impl Iterator<Item = &'a Commit>,
    first: &HashMap<&str, u64>,
) -> usize {
    let mut partitions: BTreeMap<i32, Vec<(i64, u64)>> = BTreeMap::new();
    for published in published {
        let Some((partition, offset)) = published.at else { continue };
        let refused = number(&published.id).map(Trouble::of) == Some(Trouble::Refused);
        let at = if refused { 0 } else { first.get(&*published.id).copied().unwrap_or(u64::MAX) };
        partitions.entry(partition).or_default().push((offset, at));
    }
    for offsets in partitions.values_mut() {
        offsets.sort_unstable();
        let mut latest = 0;
        for (_, at) in offsets {
            latest = latest.max(*at);
            *at = latest;
        }
    }
    let is_past = |commit: &&Commit| {
        let Some(offsets) = partitions.get(&commit.partition) else { return false };
        let before = offsets.partition_point(|(offset, _)| *offset < commit.offset);
        before > 0 && offsets[before - 1].1 > commit.at
    };
    commits.filter(is_past).count()
}

/// For each message that a killed worker had begun and not finished: from the death to its effect.
fn recovery(logs: &Logs) -> (u64, u64) {
    let mut deaths: HashMap<u32, u64> = HashMap::new();
    for event in &logs.history.events {
        if matches!(event.kind, EventKind::Killed | EventKind::Crashed { .. }) {
            deaths.insert(event.pid, event.to);
        }
    }
    let done: BTreeSet<_> = logs.effects.iter().map(|effect| (effect.pid, &*effect.id)).collect();
    let mut effects: HashMap<&str, Vec<u64>> = HashMap::new();
    logs.effects.iter().for_each(|effect| effects.entry(&effect.id).or_default().push(effect.at));
    let begun = logs.starts.iter().filter(|start| !done.contains(&(start.pid, &*start.id)));
    let mut times: Vec<u64> = begun
        .filter_map(|start| {
            let death = *deaths.get(&start.pid)?;
            let effect = effects.get(&*start.id)?.iter().find(|at| **at >= death)?;
            Some((effect - death) / 1000)
        })
        .collect();
    times.sort_unstable();
    let at =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
    (at(50).unwrap_or(0), at(99).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages 0 to 3 in one partition; 2 takes effect at 30, the others early.
    fn past(commits: &[(i64, &str, u64)], is_recreated: bool) -> usize {
        let published: Vec<_> = (0..4).map(|n| Published { id: format!("m{n}"), at: Some((0, n)) }).collect();
        let first = HashMap::from([("m0", 1), ("m1", 2), ("m2", 30), ("m3", 3)]);
        let commits = commits.iter().map(|(offset, topic, at)| Commit {
            partition: 0,
            offset: *offset,
            topic: (!topic.is_empty()).then(|| (*topic).to_owned()),
            at: *at,
        });
        let commits: Vec<_> = commits.collect();
        past_a_hole(&published, standing(&commits, is_recreated), &first)
    }

    #[test]
    fn a_commit_past_a_message_without_an_effect_is_found_in_every_run() {
        for is_recreated in [false, true] {
            assert_eq!(past(&[(2, "B", 10), (4, "B", 31)], is_recreated), 0);
            assert_eq!(past(&[(2, "B", 10), (4, "B", 29)], is_recreated), 1);
            assert_eq!(past(&[(4, "B", 29), (2, "B", 30), (4, "B", 31)], is_recreated), 1, "taken back");
            assert_eq!(
                past(&[(2, "", 10), (4, "", 29), (4, "", 31)], is_recreated),
                1,
                "nothing names a topic"
            );
        }
    }

    #[test]
    fn a_commit_of_a_topic_that_is_gone_counts_if_it_stands() {
        let taken_back = [(4, "A", 10), (2, "B", 11), (4, "B", 31)];
        assert_eq!((past(&taken_back, true), past(&taken_back, false)), (0, 1));
        assert_eq!(past(&[(2, "B", 10), (4, "A", 11)], true), 1, "nothing takes it back");
    }
}
