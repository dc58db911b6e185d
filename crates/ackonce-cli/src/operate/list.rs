//! `ackonce list`.

use ackonce::store::{Entry, Inspect, Query};
use clap::Args;
use serde_json::json;

use super::args::{FilterArgs, StoreArgs, refused};
use super::ids::{clean, shown};
use super::output::{self, OutputArgs};
use super::times::{millis, of_fence, span};
use crate::refusal::Refusal;
use crate::streams;

/// Records of a page.
pub(super) const PAGE: usize = 500;
/// In the place of a name that the store does not keep.
pub(super) const NOT_KEPT: &str = "(not kept)";

/// List the records of a store, by state, scope, reason and age
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  \
    ackonce list --store postgres://app@db/app --state buried --scope billing --reason declined --older-than 1h\n\n\
    Records are in no particular order. The scope and ID of a settled record are kept with names=keep in the store's URL; without \
    them a filter by scope finds no done records. --json prints an object a line: scope, id, state, attempt, fence, claimed_at, \
    age_ms, free_in_ms, expires_in_ms, reason, has_outcome, digest.")]
pub struct ListArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Only records of this scope
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Only buried records whose reason contains this text
    #[arg(long, visible_alias = "reason", value_name = "TEXT")]
    reason_contains: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// The most records to list; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &ListArgs) -> Result<(), Refusal> {
    let filter = args.filter.filter(args.scope.as_ref(), args.reason_contains.as_ref())?;
    let store = args.store.inspect().await?;
    let limit = if args.limit == 0 { u64::MAX } else { args.limit };
    let mut rows = Vec::new();
    let mut listed = 0;
    let mut query = Query { filter, limit: PAGE, after: None };
    let is_cut = loop {
        let page = store.list(&query).await.map_err(|error| refused(&error))?;
        let mut lines = String::new();
        let room = usize::try_from(limit - listed).unwrap_or(usize::MAX);
        let more = page.entries.len() > room;
        for entry in page.entries.iter().take(room) {
            listed += 1;
            match args.output.json {
                true => lines.push_str(&output::json_line(&object(entry))?),
                false => rows.push(row(entry)),
            }
        }
        output::text(&lines)?;
        match page.next {
            Some(_) if more || listed >= limit => break true,
            Some(next) => query.after = Some(next),
            None => break more,
        }
    };
    if args.output.json {
        return Ok(());
    }
    if rows.is_empty() {
        return output::text("no record\n");
    }
    let head = ["SCOPE", "ID", "STATE", "ATTEMPT", "LAST CLAIM", "FREE IN", "EXPIRES IN", "REASON"];
    output::text(&output::table(&head, &[3], &rows))?;
    if rows.iter().any(|row| row[1] == NOT_KEPT) {
        streams::note(
            "Scope and ID of settled records are not kept; names=keep in the URL of the consumers' store keeps them.",
        );
    }
    if is_cut {
        streams::note("There may be more: --limit 0 lists all.");
    }
    Ok(())
}

fn row(entry: &Entry) -> Vec<String> {
    let record = &entry.record;
    let free_in = if entry.free_in.is_zero() { String::new() } else { span(entry.free_in) };
    vec![
        entry.scope.as_deref().map_or_else(|| NOT_KEPT.to_owned(), clean),
        entry.id.as_deref().map_or_else(|| NOT_KEPT.to_owned(), shown),
        record.state.as_str().to_owned(),
        record.attempt.to_string(),
        format!("{} ago", span(record.age)),
        free_in,
        span(entry.expires_in),
        record.reason.as_deref().map(brief).unwrap_or_default(),
    ]
}

/// The beginning of a reason, in one line.
pub(super) fn brief(reason: &str) -> String {
    const MOST: usize = 80;
    let line = clean(reason.lines().next().unwrap_or_default());
    match line.chars().count() > MOST || reason.lines().count() > 1 {
        true => line.chars().take(MOST - 1).chain(['…']).collect(),
        false => line,
    }
}

/// The documented shape of a record in JSON.
pub(super) fn object(entry: &Entry) -> serde_json::Value {
    let record = &entry.record;
    json!({
        "scope": entry.scope,
        "id": entry.id.as_deref().map(shown),
        "state": record.state.as_str(),
        "attempt": record.attempt,
        "fence": record.fence,
        "claimed_at": of_fence(record.fence),
        "age_ms": millis(record.age),
        "free_in_ms": millis(entry.free_in),
        "expires_in_ms": millis(entry.expires_in),
        "reason": record.reason,
        "has_outcome": record.outcome.is_some(),
        "digest": ackonce::adapter::hex(&entry.digest),
    })
}

/// The number of records that a query finds, `limit` at most.
pub(super) async fn count(store: &dyn Inspect, query: &Query, limit: u64) -> Result<u64, Refusal> {
    let (mut query, mut found) = (Query { limit: PAGE, after: None, ..query.clone() }, 0);
    loop {
        let page = store.list(&query).await.map_err(|error| refused(&error))?;
        found += page.entries.len() as u64;
        match page.next {
            _ if found >= limit => return Ok(limit),
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}
