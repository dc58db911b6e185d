//! `api/show`: the record of one message, and the answer to "why was my message skipped?"

use std::sync::Arc;

use ackonce::Scope;
use ackonce::store::explain;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{self, State};
use serde::{Deserialize, Serialize};

use super::view::{AuditView, RecordView};
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;

/// The most changes by hand that are listed.
const CHANGES: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    scope: String,
    id: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Shown {
    scope: String,
    id: String,
    /// The answer, in one sentence or a few.
    sentence: String,
    record: Option<RecordView>,
    /// Changes by hand, the newest last.
    audit: Vec<AuditView>,
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    query: Result<extract::Query<ShowQuery>, QueryRejection>,
) -> Result<Json<Shown>, Problem> {
    let extract::Query(ShowQuery { scope, id }) = query.map_err(|e| Problem::bad(e.body_text()))?;
    let key = key(&scope, &id)?;
    let entry = shared.store.look(&key).await.map_err(|e| Problem::store(&e))?;
    let audit = shared.store.audit(&key).await.map_err(|e| Problem::store(&e))?;
    let sentence = explain(entry.as_ref(), &audit);
    let older = audit.len().saturating_sub(CHANGES);
    // The names of the question: a store may keep none.
    let record = entry.map(|mut entry| {
        entry.scope.get_or_insert(scope);
        entry.id.get_or_insert_with(|| key.id().clone());
        RecordView::of(&entry)
    });
    Ok(Json(Shown {
        scope: key.scope().name().to_owned(),
        id: names::shown(key.id()),
        sentence,
        record,
        audit: audit.into_iter().skip(older).map(AuditView::of).collect(),
    }))
}

/// The key of a scope and an ID as a person wrote them.
pub(super) fn key(scope: &str, id: &str) -> Result<ackonce::Key, Problem> {
    let id = names::parse(id).map_err(|e| Problem::bad(e.to_string()))?;
    let scope = scope_of(scope).map_err(|e| Problem::bad(e.to_string()))?;
    scope.with_max_id_len(usize::MAX).key(id).map_err(|e| Problem::bad(e.to_string()))
}

/// A scope by its name, one beside another included.
fn scope_of(name: &str) -> Result<Scope, ackonce::KeyError> {
    match name.split_once("/~") {
        Some((base, purpose)) => Ok(Scope::new(base)?.beside(purpose)),
        None => Scope::new(name),
    }
}
