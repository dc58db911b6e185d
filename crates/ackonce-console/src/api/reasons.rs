//! `api/reasons`: buried messages by reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::store::{Filter, Query, State as RecordState};
use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::problem::Problem;
use crate::shared::Shared;

/// The most buried records that are looked at, those of a page, and the longest time for it.
const LOOKED_AT: usize = 2000;
const PAGE: usize = 500;
const PATIENCE: Duration = Duration::from_secs(3);
/// The most reasons that are listed.
const LISTED: usize = 20;
/// The characters by which reasons are told apart; the rest of one often names its message.
const COMPARED: usize = 120;

#[derive(Debug, Serialize)]
pub(super) struct Reasons {
    reasons: Vec<ReasonView>,
    /// The number of buried records that were looked at.
    looked_at: usize,
    /// False if there are more.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct ReasonView {
    /// The beginning of the reason, as a filter takes it.
    reason: String,
    records: usize,
}

pub(super) async fn reasons(State(shared): State<Arc<Shared>>) -> Result<Json<Reasons>, Problem> {
    let filter = Filter { state: Some(RecordState::Buried), ..Filter::default() };
    let mut query = Query { filter, limit: PAGE, after: None };
    let (mut found, mut looked_at, began) = (HashMap::<String, usize>::new(), 0, Instant::now());
    let complete = loop {
        let page = shared.store.list(&query).await.map_err(|e| Problem::store(&e))?;
        for entry in &page.entries {
            let reason = entry.record.reason.as_deref().unwrap_or_default();
            *found.entry(reason.chars().take(COMPARED).collect()).or_default() += 1;
        }
        looked_at += page.entries.len();
        query.after = page.next;
        if query.after.is_none() {
            break true;
        }
        if looked_at >= LOOKED_AT || began.elapsed() > PATIENCE {
            break false;
        }
    };
    let reasons = found.into_iter().map(|(reason, records)| ReasonView { reason, records });
    let mut reasons: Vec<_> = reasons.collect();
    reasons.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.reason.cmp(&b.reason)));
    reasons.truncate(LISTED);
    Ok(Json(Reasons { reasons, looked_at, complete }))
}
