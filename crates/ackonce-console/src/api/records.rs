//! `api/records`: a page of records by a filter.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{Filter, Query, State as RecordState};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{self, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::view::RecordView;
use crate::problem::Problem;
use crate::shared::Shared;

/// The most records of a page.
const LIMIT: usize = 200;
/// The most characters of a filter.
const LONGEST: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RecordsQuery {
    state: Option<String>,
    scope: Option<String>,
    reason: Option<String>,
    /// In seconds.
    older_than: Option<u64>,
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct RecordsPage {
    records: Vec<RecordView>,
    /// The cursor of the next page.
    next: Option<String>,
}

pub(super) async fn records(
    State(shared): State<Arc<Shared>>,
    query: Result<extract::Query<RecordsQuery>, QueryRejection>,
) -> Result<Json<RecordsPage>, Problem> {
    let extract::Query(query) = query.map_err(|e| Problem::bad(e.body_text()))?;
    let query = query.parsed()?;
    let page = shared.store.list(&query).await.map_err(|e| Problem::store(&e))?;
    let records = page.entries.iter().map(RecordView::of).collect();
    Ok(Json(RecordsPage { records, next: page.next.map(hex::encode) }))
}

impl RecordsQuery {
    fn parsed(self) -> Result<Query, Problem> {
        let after = self.after.map(|after| hex::decode(after).map(Bytes::from)).transpose();
        let filter = Filter {
            state: self.state.map(|state| state_of(&state)).transpose()?,
            scope: text("scope", self.scope)?,
            reason: text("reason", self.reason)?,
            older_than: self.older_than.map(Duration::from_secs),
        };
        let limit = self.limit.unwrap_or(50);
        if limit == 0 || limit > LIMIT {
            return Err(Problem::bad(format!("limit: there are 1 to {LIMIT} records on a page")));
        }
        Ok(Query { filter, limit, after: after.map_err(|_| Problem::bad("after: it is no cursor"))? })
    }
}

pub(super) fn state_of(text: &str) -> Result<RecordState, Problem> {
    use RecordState::{Buried, Claimed, Done, Released};
    let known = [Claimed, Released, Done, Buried].into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| Problem::bad("state: there are claimed, released, done and buried"))
}

/// A filter that is not empty.
fn text(name: &str, value: Option<String>) -> Result<Option<String>, Problem> {
    match value {
        Some(value) if value.chars().count() > LONGEST => {
            Err(Problem::bad(format!("{name}: it has more than {LONGEST} characters")))
        }
        value => Ok(value.filter(|value| !value.is_empty())),
    }
}
