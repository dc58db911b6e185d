//! A record as the page shows it.

use ackonce::store::{AuditEntry, Entry, State};
use serde::Serialize;

use crate::feed::{millis, now_ms};
use crate::names;

/// The most characters of a text that a sender chose.
const LONGEST: usize = 4000;

/// Times are milliseconds; those that end in `_at` are since 1970, by the clock of the console's host.
#[derive(Debug, Serialize)]
pub(super) struct RecordView {
    scope: Option<String>,
    id: Option<String>,
    digest: String,
    state: &'static str,
    attempt: u32,
    /// Text, since JavaScript has no integers of 64 bits.
    fence: String,
    /// The last claim.
    claimed_at: u64,
    expires_at: u64,
    /// The end of the lease or of the back-off.
    free_at: Option<u64>,
    reason: Option<String>,
    outcome: Option<OutcomeView>,
}

#[derive(Debug, Serialize)]
struct OutcomeView {
    text: String,
    bytes: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct AuditView {
    operation: String,
    actor: String,
    reason: String,
    before: &'static str,
    at: u64,
}

impl RecordView {
    pub(super) fn of(entry: &Entry) -> Self {
        let (now, record) = (now_ms(), &entry.record);
        let is_held = matches!(record.state, State::Claimed | State::Released) && !entry.free_in.is_zero();
        Self {
            scope: entry.scope.clone(),
            id: entry.id.as_deref().map(names::shown),
            digest: hex::encode(&entry.digest),
            state: record.state.as_str(),
            attempt: record.attempt,
            fence: record.fence.to_string(),
            claimed_at: now.saturating_sub(millis(record.age)),
            expires_at: now.saturating_add(millis(entry.expires_in)),
            free_at: is_held.then(|| now.saturating_add(millis(entry.free_in))),
            reason: record.reason.as_deref().map(bounded),
            outcome: record.outcome.as_deref().map(|outcome| OutcomeView {
                text: bounded(&String::from_utf8_lossy(outcome)),
                bytes: outcome.len(),
            }),
        }
    }
}

impl AuditView {
    pub(super) fn of(change: AuditEntry) -> Self {
        let AuditEntry { operation, actor, reason, before, age, .. } = change;
        let at = now_ms().saturating_sub(millis(age));
        Self { operation, actor: bounded(&actor), reason: bounded(&reason), before: before.as_str(), at }
    }
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
