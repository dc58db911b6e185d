//! `api/redrive` and `api/forget`: changes by hand, each with an actor and a reason.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{AdminOutcome, Entry, Note, Record, RecordTarget, State as RecordState};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::records::state_of;
use super::show::key;
use crate::access::CHANGES;
use crate::options::Writes;
use crate::problem::Problem;
use crate::shared::Shared;

/// The most characters of an actor and of a reason.
const ACTOR: usize = 100;
const REASON: usize = 500;

/// A change of one record, as it was shown: one that has changed since is left as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Its names; without them its digest is needed.
    scope: Option<String>,
    id: Option<String>,
    digest: Option<String>,
    state: String,
    fence: String,
    actor: String,
    reason: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Changed {
    /// `yes`, `nothing` or `in-flight`.
    outcome: &'static str,
    sentence: &'static str,
}

#[derive(Clone, Copy)]
enum Operation {
    Redrive,
    Forget,
}

pub(super) async fn redrive(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Changed>, Problem> {
    change(&shared, &headers, body, Operation::Redrive).await
}

pub(super) async fn forget(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Changed>, Problem> {
    change(&shared, &headers, body, Operation::Forget).await
}

async fn change(
    shared: &Shared,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    operation: Operation,
) -> Result<Json<Changed>, Problem> {
    if shared.writes == Writes::Refused {
        return Err(Problem::forbidden(
            "this console only reads; start it with --allow-writes to redrive and forget",
        ));
    }
    if headers.get(CHANGES).is_none() {
        return Err(Problem::forbidden(format!(
            "a change needs the header {CHANGES}: 1, which no page of another origin sends"
        )));
    }
    let json = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if json.is_none_or(|kind| kind.split(';').next().is_none_or(|kind| kind.trim() != "application/json")) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json"));
    }
    let body = body.map_err(|e| Problem::new(e.status(), e.body_text()))?;
    let change: Change = serde_json::from_slice(&body).map_err(|e| Problem::bad(format!("the body: {e}")))?;
    let note = change.note()?;
    let Some(entry) = change.entry(shared).await? else {
        return Ok(Json(Changed::of(AdminOutcome::Nothing, operation)));
    };
    let target = RecordTarget::Listed(&entry);
    let changed = match operation {
        Operation::Redrive => shared.store.redrive(target, &note).await,
        Operation::Forget => shared.store.forget(target, &note).await,
    };
    Ok(Json(Changed::of(changed.map_err(|e| Problem::store(&e))?, operation)))
}

impl Change {
    fn note(&self) -> Result<Note, Problem> {
        let text = |name: &str, value: &str, most: usize| {
            let value = value.trim();
            match value.chars().count() {
                0 => Err(Problem::bad(format!("{name}: it is missing; it is written down with the change"))),
                n if n > most => Err(Problem::bad(format!("{name}: it has more than {most} characters"))),
                _ if value.chars().any(char::is_control) => {
                    Err(Problem::bad(format!("{name}: it has a control character")))
                }
                _ => Ok(value.to_owned()),
            }
        };
        Ok(Note { actor: text("actor", &self.actor, ACTOR)?, reason: text("reason", &self.reason, REASON)? })
    }

    /// The record that was shown; `None` if there is none any more, or another one.
    async fn entry(&self, shared: &Shared) -> Result<Option<Entry>, Problem> {
        let state = state_of(&self.state)?;
        let fence: u64 = self.fence.parse().map_err(|_| Problem::bad("fence: it is no number"))?;
        let found = match (&self.scope, &self.id, &self.digest) {
            (Some(scope), Some(id), _) => {
                let key = key(scope, id)?;
                let found = shared.store.look(&key).await.map_err(|e| Problem::store(&e))?;
                found.map(|entry| Entry { scope: Some(scope.clone()), id: Some(key.id().clone()), ..entry })
            }
            (_, _, Some(digest)) => {
                let digest =
                    hex::decode(digest).map_err(|_| Problem::bad("digest: it is not hexadecimal"))?;
                Some(nameless(digest.into(), state, fence))
            }
            _ => return Err(Problem::bad("the body names no record: scope and id, or digest")),
        };
        Ok(found.filter(|entry| (entry.record.state, entry.record.fence) == (state, fence)))
    }
}

/// A record that was listed without names. The store compares its state and its fence.
fn nameless(digest: Bytes, state: RecordState, fence: u64) -> Entry {
    let record = Record {
        state,
        fence,
        attempt: 0,
        fingerprint: None,
        outcome: None,
        progress: None,
        reason: None,
        age: Duration::ZERO,
    };
    Entry { digest, scope: None, id: None, record, expires_in: Duration::ZERO, free_in: Duration::ZERO }
}

impl Changed {
    fn of(outcome: AdminOutcome, operation: Operation) -> Self {
        let (outcome, sentence) = match (outcome, operation) {
            (AdminOutcome::Yes, Operation::Redrive) => {
                ("yes", "Redriven: the next delivery of the message runs.")
            }
            (AdminOutcome::Yes, Operation::Forget) => {
                ("yes", "Forgotten: the next delivery of the message runs as if it were the first.")
            }
            (AdminOutcome::Nothing, _) => {
                ("nothing", "Nothing was changed: the record is gone, or has changed since it was shown.")
            }
            (AdminOutcome::InFlight, _) => {
                ("in-flight", "Nothing was changed: a worker holds the message; try again after its lease.")
            }
        };
        Self { outcome, sentence }
    }
}
