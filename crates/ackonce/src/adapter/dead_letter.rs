//! Dead letters in their place, as an operator sees them: their facts, filters, and the outcome of moving them back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{Identify, burial_proof, headers};
use crate::inspect::Note;

/// A message in a dead-letter place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place: topic, partition and offset, or the queue.
    pub place: String,
    /// The topic or queue that it was taken from, and goes back to.
    pub target: Option<String>,
    /// The scope in which it was claimed.
    pub scope: Option<String>,
    /// The message ID.
    pub id: Option<Bytes>,
    /// The reason of the burial.
    pub reason: Option<String>,
    /// The number of attempts that were counted.
    pub attempts: Option<u32>,
    /// The time of the claim that has buried it, by the store's clock.
    pub buried_at: Option<SystemTime>,
    /// The reason why it cannot be moved back by itself: it is no letter of a consumer of ours, or not a whole one.
    pub obstacle: Option<String>,
}

impl DeadLetter {
    /// The facts in a message's headers. `number` reads the header of attempts, whose type depends on the broker.
    #[must_use]
    pub fn of(message: &impl Identify, place: String, target: Option<String>, attempts: Option<u32>) -> Self {
        let text = |name| Some(String::from_utf8_lossy(message.header(name)?).into_owned());
        let proof = burial_proof(message);
        let reduced = text(headers::REDUCED);
        let obstacle = match (&proof, &reduced, &target) {
            (_, Some(missing), _) => Some(format!(
                "it lacks {missing}: publish the whole message again and redrive its record (ackonce redrive)"
            )),
            (None, None, _) => Some(format!(
                "it has no header {}, so no consumer of Ackonce has buried it, or it was buried without its proof",
                headers::BURIAL
            )),
            (Some(_), None, None) => Some("its headers do not name the place that it came from".to_owned()),
            (Some(_), None, Some(_)) => None,
        };
        Self {
            place,
            target,
            scope: text(headers::SCOPE),
            id: message.header(headers::MESSAGE_ID).map(Bytes::copy_from_slice),
            reason: text(headers::ERROR),
            attempts,
            // A forged one may be past what the system can count.
            buried_at: proof.and_then(|proof| UNIX_EPOCH.checked_add(Duration::from_micros(proof.fence()))),
            obstacle,
        }
    }
}

/// Chooses dead letters; the default chooses all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Only letters of this scope.
    pub scope: Option<String>,
    /// Only letters whose reason contains this text.
    pub reason: Option<String>,
    /// Only letters that were buried at least so long ago. One whose age is not known is left where it is.
    pub older_than: Option<Duration>,
}

impl LetterFilter {
    /// True if it chooses this letter.
    #[must_use]
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let is_old = |least: Duration| {
            let age = letter.buried_at.and_then(|at| SystemTime::now().duration_since(at).ok());
            age.is_some_and(|age| age >= least)
        };
        self.scope.as_ref().is_none_or(|scope| letter.scope.as_ref() == Some(scope))
            && self.reason.as_ref().is_none_or(|part| {
                letter.reason.as_ref().is_some_and(|reason| reason.contains(part.as_str()))
            })
            && self.older_than.is_none_or(is_old)
    }
}

/// Dead letters to move back to where they came from.
#[derive(Debug, Clone)]
pub struct Redrive {
    /// The letters.
    pub filter: LetterFilter,
    /// The most letters to move.
    pub limit: Option<u64>,
    /// The author and the reason, which the letters take along for the audit.
    pub note: Note,
}

/// The outcome of moving dead letters back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LettersMoved {
    /// Published again and confirmed.
    pub moved: u64,
    /// Left in their place, because the filter did not choose them.
    pub kept: u64,
    /// Chosen, and left in their place, because they cannot be moved.
    pub stuck: u64,
    /// The obstacle of the first of those.
    pub first_obstacle: Option<String>,
}

impl LettersMoved {
    /// Counts a letter that cannot be moved.
    pub fn is_stuck(&mut self, obstacle: impl Into<String>) {
        self.stuck += 1;
        self.first_obstacle.get_or_insert_with(|| obstacle.into());
    }

    /// The number of letters that were looked at.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.moved + self.kept + self.stuck
    }
}

/// The operator and the reason that a letter carries.
pub(super) fn redrive_note(message: &impl Identify) -> Option<Note> {
    let text = |name| Some(String::from_utf8_lossy(message.header(name)?).into_owned());
    let actor = text(headers::REDRIVE_ACTOR)?;
    Some(Note { actor, reason: text(headers::REDRIVE_REASON).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(age: Duration) -> DeadLetter {
        DeadLetter {
            place: "orders.dead/0@7".into(),
            target: Some("orders".into()),
            scope: Some("billing".into()),
            id: None,
            reason: Some("card declined: 402".into()),
            attempts: Some(15),
            buried_at: SystemTime::now().checked_sub(age),
            obstacle: None,
        }
    }

    #[test]
    fn a_filter_takes_letters_that_fit_each_of_its_parts() {
        let hour = Duration::from_secs(3600);
        let filter = LetterFilter {
            scope: Some("billing".into()),
            reason: Some("declined".into()),
            older_than: Some(hour),
        };
        assert!(filter.takes(&letter(hour * 2)) && LetterFilter::default().takes(&letter(hour)));
        assert!(!filter.takes(&letter(hour / 2)));
        assert!(!filter.takes(&DeadLetter { scope: Some("other".into()), ..letter(hour * 2) }));
        assert!(!filter.takes(&DeadLetter { reason: None, ..letter(hour * 2) }));
        assert!(!filter.takes(&DeadLetter { buried_at: None, ..letter(hour * 2) }), "its age is not known");
    }
}
