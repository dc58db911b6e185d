//! The answer to a question of every support desk: why was this message skipped?

use std::time::Duration;

use super::span;
use crate::inspect::{AuditEntry, Entry};
use crate::record::State;

/// The answer to the question for the reason of a skipped message, and the outcome of its next delivery, in sentences: from
/// the record of its key and its changes by hand, oldest first. Without a record they tell the possible reasons for that.
///
/// ```
/// use ackonce::store::explain;
/// assert!(explain(None, &[]).starts_with("This store has no record of the message"));
/// ```
#[must_use]
pub fn explain(entry: Option<&Entry>, audit: &[AuditEntry]) -> String {
    let Some(entry) = entry else { return absent(audit.last()) };
    let record = &entry.record;
    let (age, attempt) = (span(record.age), record.attempt);
    match record.state {
        State::Claimed if entry.free_in > Duration::ZERO => format!(
            "It was not skipped: a worker holds it. Attempt {attempt} began {age} ago, and its lease ends in {} unless it is \
             renewed. Copies that arrive meanwhile are not acknowledged; they wait.",
            span(entry.free_in)
        ),
        State::Claimed => format!(
            "It was not skipped: attempt {attempt} began {age} ago and has not ended. Its lease is over, so its worker died, \
             stalled or lost the store, and its effect may have happened. Its next delivery runs it again."
        ),
        State::Released => released(entry, redriven(entry, audit)),
        State::Done => format!(
            "It took effect: attempt {attempt} began {age} ago and was completed. Deliveries after that are duplicates: they \
             are acknowledged and not run, for {} from now.{}",
            span(entry.expires_in),
            again(redrive_before(entry, audit))
        ),
        State::Buried => format!(
            "It was given up{}: {}. Its effect did not happen. Deliveries are acknowledged and not run, for {} from now, \
             unless its dead letter is published again or its record is redriven.{}",
            after(attempt),
            record.reason.as_deref().unwrap_or("no reason is recorded"),
            span(entry.expires_in),
            again(redrive_before(entry, audit))
        ),
    }
}

fn absent(last: Option<&AuditEntry>) -> String {
    match last {
        Some(last) if last.operation == "forget" => format!(
            "This store has no record of the message: {} forgot it {} ago ({}). Its next delivery runs as if it were the \
             first.",
            last.actor,
            span(last.age),
            last.reason
        ),
        _ => "This store has no record of the message: it was never claimed in this scope, or its window is over, or it was \
              forgotten. Its next delivery runs. A misspelt scope or ID has no record either."
            .to_owned(),
    }
}

fn released(entry: &Entry, redrive: Option<&AuditEntry>) -> String {
    let attempt = entry.record.attempt;
    match redrive {
        Some(by) => format!(
            "It was redriven by {} {} ago ({}), and has not run since. Its next delivery runs; if the broker has none, publish \
             the message or its dead letter again.",
            by.actor,
            span(by.age),
            by.reason
        ),
        None if entry.free_in > Duration::ZERO => format!(
            "It was not skipped: attempt {attempt} failed, and it waits {} more for its back-off. It runs after that, from the \
             copy in hand or at its next delivery.",
            span(entry.free_in)
        ),
        None if attempt == 0 => {
            "It was not skipped: it was handed back before an attempt that counts, or its dead letter was \
                                 published again. Its next delivery runs."
                .to_owned()
        }
        None => format!(
            "It was not skipped: it was handed back after {}. Its next delivery runs as attempt {}.",
            attempts(attempt),
            attempt.saturating_add(1)
        ),
    }
}

/// The redrive since the last claim.
fn redriven<'a>(entry: &Entry, audit: &'a [AuditEntry]) -> Option<&'a AuditEntry> {
    audit.iter().rev().find(|by| by.operation == "redrive" && by.age <= entry.record.age)
}

/// The last redrive before the last claim.
fn redrive_before<'a>(entry: &Entry, audit: &'a [AuditEntry]) -> Option<&'a AuditEntry> {
    audit.iter().rev().find(|by| by.operation == "redrive" && by.age >= entry.record.age)
}

fn again(redrive: Option<&AuditEntry>) -> String {
    redrive.map_or_else(String::new, |by| {
        format!(" Before that it was redriven by {} ({}).", by.actor, by.reason)
    })
}

fn after(attempt: u32) -> String {
    if attempt == 0 { String::new() } else { format!(" after {}", attempts(attempt)) }
}

fn attempts(number: u32) -> String {
    if number == 1 { "1 attempt".to_owned() } else { format!("{number} attempts") }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::Record;

    const MINUTE: Duration = Duration::from_secs(60);

    fn entry(state: State, attempt: u32, free_in: Duration) -> Entry {
        let reason = (state == State::Buried).then(|| "card declined".to_owned());
        let record = Record {
            state,
            fence: 1,
            attempt,
            fingerprint: None,
            outcome: None,
            progress: None,
            reason,
            age: 10 * MINUTE,
        };
        let (scope, id) = (Some("s".to_owned()), Some(Bytes::from_static(b"m")));
        Entry { digest: Bytes::new(), scope, id, record, expires_in: 60 * MINUTE, free_in }
    }

    fn by(operation: &str, age: Duration) -> AuditEntry {
        let (actor, reason) = ("ada".to_owned(), "ticket 4711".to_owned());
        AuditEntry { operation: operation.to_owned(), actor, reason, before: State::Buried, age }
    }

    #[test]
    fn each_state_has_its_sentence() {
        let none = Duration::ZERO;
        for (entry, audit, parts) in [
            (None, vec![], &["no record", "never claimed", "Its next delivery runs"][..]),
            (
                None,
                vec![by("redrive", MINUTE), by("forget", MINUTE)],
                &["ada forgot it 1 min ago (ticket 4711)"],
            ),
            (None, vec![by("forget", MINUTE), by("redrive", MINUTE)], &["never claimed"]),
            (
                Some(entry(State::Claimed, 2, MINUTE)),
                vec![],
                &["a worker holds it", "Attempt 2", "ends in 1 min"],
            ),
            (
                Some(entry(State::Claimed, 2, none)),
                vec![],
                &["lease is over", "may have happened", "runs it again"],
            ),
            (Some(entry(State::Released, 3, MINUTE)), vec![], &["attempt 3 failed", "waits 1 min more"]),
            (
                Some(entry(State::Released, 3, none)),
                vec![],
                &["handed back after 3 attempts", "as attempt 4"],
            ),
            (Some(entry(State::Released, 0, none)), vec![], &["dead letter was published again"]),
            (
                Some(entry(State::Released, 0, none)),
                vec![by("redrive", MINUTE)],
                &["redriven by ada 1 min ago", "has not run"],
            ),
            (
                Some(entry(State::Released, 1, none)),
                vec![by("redrive", 60 * MINUTE)],
                &["after 1 attempt.", "as attempt 2"],
            ),
            (
                Some(entry(State::Done, 1, none)),
                vec![],
                &["took effect", "10 min ago", "duplicates", "for 1 h from now"],
            ),
            (
                Some(entry(State::Done, 1, none)),
                vec![by("redrive", 60 * MINUTE)],
                &["took effect", "redriven by ada"],
            ),
            (
                Some(entry(State::Buried, 15, none)),
                vec![],
                &["given up after 15 attempts: card declined", "did not happen"],
            ),
            (Some(entry(State::Buried, 0, none)), vec![], &["It was given up: card declined"]),
        ] {
            let text = explain(entry.as_ref(), &audit);
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in {text:?}");
            }
        }
    }
}
