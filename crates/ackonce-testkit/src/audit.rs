//! The verdict: compares published messages with effects, and explains repeated effects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use ackonce::Class;

use crate::crash::History;
use crate::ledger::LedgerEntry;

/// The comparison of published messages with their effects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Deliveries published, repeats included.
    pub published: u64,
    /// Message IDs published.
    pub unique: u64,
    /// Effects.
    pub effects: u64,
    /// IDs without an effect.
    pub lost: Vec<String>,
    /// IDs with several effects.
    pub doubled: Vec<Doubled>,
    /// IDs whose effects carried different idempotency keys: a target that honours keys would have repeated them.
    pub doubled_keyed: Vec<String>,
    /// Idempotency keys carried by effects of different IDs: such a target would have dropped all but one.
    pub shared_keys: Vec<String>,
    /// IDs with an effect that nobody published.
    pub unknown_ids: Vec<String>,
    /// Effects whose fence is not above that of an earlier effect of the same ID. A target that checks fences
    /// would have refused them.
    pub stale: Vec<Stale>,
}

/// An ID with several effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubled {
    /// The message ID.
    pub id: String,
    /// The number of effects.
    pub times: usize,
    /// The number of different idempotency keys they carried.
    pub keys: usize,
    /// For each effect after the first, the reason for it; `None` if nothing in the history explains it.
    pub causes: Vec<Option<Cause>>,
}

impl Doubled {
    /// True if the history explains every effect after the first.
    #[must_use]
    pub fn explained(&self) -> bool {
        self.causes.iter().all(Option::is_some)
    }
}

/// Why an effect was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The process of the effect before was killed after it, and before the repeat.
    Died,
    /// The process of the effect before was paused after it, and before the repeat.
    Stalled,
    /// One of the two processes was paused between its claim and its effect, and its key was taken over
    /// meanwhile: the effect came late, beside the other's.
    Overtaken,
    /// The process of the effect before has logged that it could not record it, because its key was taken over
    /// meanwhile: a store that stood still for longer than the lease. See [`Audit::explain`].
    NotRecorded,
}

/// An effect under an old fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The message ID.
    pub id: String,
    /// The fence it carried.
    pub fence: u64,
    /// The highest fence of an effect before it.
    pub after: u64,
    /// True if its process was paused between its claim and its effect.
    pub explained: bool,
}

/// Compares the published messages (the number of times for each ID) with the effects in the order they were appended.
///
/// The moment of a claim is its fence, which is the store's clock in microseconds: workers, store and
/// supervisor must be on one machine.
#[must_use]
pub fn audit(published: &BTreeMap<String, u64>, entries: &[LedgerEntry], history: &History) -> Audit {
    let mut by_id: BTreeMap<&str, Vec<&LedgerEntry>> = BTreeMap::new();
    let mut ids_of: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for entry in entries {
        by_id.entry(&entry.id).or_default().push(entry);
        ids_of.entry(&entry.key).or_default().insert(&entry.id);
    }
    let mut audit = Audit {
        published: published.values().sum(),
        unique: count(published.len()),
        effects: count(entries.len()),
        ..Audit::default()
    };
    audit.lost = published.keys().filter(|id| !by_id.contains_key(id.as_str())).cloned().collect();
    let shared = ids_of.iter().filter(|(_, ids)| ids.len() > 1);
    audit.shared_keys = shared.map(|(key, _)| (*key).to_owned()).collect();
    audit.shared_keys.sort();
    for (id, effects) in by_id {
        if !published.contains_key(id) {
            audit.unknown_ids.push(id.to_owned());
        }
        let keys = effects.iter().map(|e| &e.key).collect::<BTreeSet<_>>().len();
        if keys > 1 {
            audit.doubled_keyed.push(id.to_owned());
        }
        if effects.len() > 1 {
            let causes = effects.windows(2).map(|pair| cause(pair[0], pair[1], history)).collect();
            audit.doubled.push(Doubled { id: id.to_owned(), times: effects.len(), keys, causes });
        }
        audit.stale.extend(stale(&effects, history));
    }
    audit
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn cause(before: &LedgerEntry, repeat: &LedgerEntry, history: &History) -> Option<Cause> {
    if history.died(before.pid, before.at, repeat.at) {
        Some(Cause::Died)
    } else if history.paused(before.pid, before.at, repeat.at) {
        Some(Cause::Stalled)
    } else if late(before, history) || repeat.fence < before.fence && late(repeat, history) {
        Some(Cause::Overtaken)
    } else {
        None
    }
}

/// True if the process was paused between claim and effect.
fn late(effect: &LedgerEntry, history: &History) -> bool {
    history.paused(effect.pid, effect.fence, effect.at)
}

fn stale(effects: &[&LedgerEntry], history: &History) -> Vec<Stale> {
    let mut highest = 0;
    let mut stale = Vec::new();
    for effect in effects {
        if effect.fence <= highest {
            stale.push(Stale {
                id: effect.id.clone(),
                fence: effect.fence,
                after: highest,
                // The same fence twice is one claim run twice, which no pause explains.
                explained: effect.fence < highest && late(effect, history),
            });
        }
        highest = highest.max(effect.fence);
    }
    stale
}

impl Audit {
    /// Explains repeats by the effects that workers have logged as `not_recorded`. They log
    /// each as the decision `completed-but-not-recorded`, and count it.
    pub fn explain(&mut self, entries: &[LedgerEntry], not_recorded: impl Fn(&LedgerEntry) -> bool) {
        for doubled in &mut self.doubled {
            let effects = entries.iter().filter(|e| e.id == doubled.id);
            for (cause, before) in doubled.causes.iter_mut().zip(effects) {
                if cause.is_none() && not_recorded(before) {
                    *cause = Some(Cause::NotRecorded);
                }
            }
        }
    }

    /// Checks the promise of that class.
    ///
    /// # Errors
    /// The first broken part of the promise, in words, with an example.
    pub fn keeps(&self, class: Class) -> Result<(), String> {
        let unexplained: Vec<_> = self.doubled.iter().filter(|d| !d.explained()).map(|d| &d.id).collect();
        let doubled: Vec<_> = self.doubled.iter().map(|d| &d.id).collect();
        let stale: Vec<_> = self.stale.iter().filter(|s| !s.explained).map(|s| &s.id).collect();
        let strict = matches!(class, Class::AtMostOnce | Class::Inbox);
        let keyed = class == Class::Keyed;
        let lost = class != Class::AtMostOnce;
        let parts = [
            ("lost", self.lost.iter().collect(), lost),
            ("doubled", doubled, strict),
            ("doubled without a death or stall that explains it", unexplained, true),
            ("doubled under different idempotency keys", self.doubled_keyed.iter().collect(), keyed),
            ("merged by a shared idempotency key", self.shared_keys.iter().collect(), keyed),
            ("never published", self.unknown_ids.iter().collect(), true),
            ("under a fence that does not grow, without a stall that explains it", stale, true),
        ];
        match parts.into_iter().find(|(_, ids, matters): &(_, Vec<&String>, _)| *matters && !ids.is_empty()) {
            Some((what, ids, _)) => Err(format!("{} {what}, such as {:?}; {self}", ids.len(), ids[0])),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explained = self.doubled.iter().filter(|d| d.explained()).count();
        write!(
            f,
            "published {} ({} unique), effects {}, lost {}, doubled {} ({explained} explained), doubled by key {}, stale {}",
            self.published,
            self.unique,
            self.effects,
            self.lost.len(),
            self.doubled.len(),
            self.doubled_keyed.len(),
            self.stale.len(),
        )
    }
}
