//! `ackonce stats`.

use ackonce::store::{ScopeStats, Stats};
use clap::Args;
use serde_json::json;

use super::args::{StoreArgs, refused};
use super::list::NOT_KEPT;
use super::output::{self, OutputArgs, grouped};
use crate::refusal::Refusal;

/// Count the records of a store by scope and state
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  \
    ackonce stats --store sqlite:/var/lib/app/dedup.db\n\n\
    It counts every record, which takes seconds for millions of them. Expired records may be counted in until they are swept. \
    The scope of a settled record is kept with names=keep in the store's URL; others are in the row (not kept).")]
pub struct StatsArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &StatsArgs) -> Result<(), Refusal> {
    let store = args.store.inspect().await?;
    let (stats, mut scopes) = (store.stats().await, store.scopes().await);
    let stats = stats.map_err(|error| refused(&error))?;
    let scopes = match &mut scopes {
        Ok(scopes) => {
            scopes.sort_by(|a, b| (a.scope.is_none(), &a.scope).cmp(&(b.scope.is_none(), &b.scope)));
            scopes
        }
        Err(error) => return Err(refused(error)),
    };
    match args.output.json {
        true => output::json(&object(&stats, scopes)),
        false => output::text(&shown(&args.store.store.to_string(), &stats, scopes)),
    }
}

fn object(stats: &Stats, scopes: &[ScopeStats]) -> serde_json::Value {
    let by_scope: Vec<_> = scopes
        .iter()
        .map(|s| {
            json!({"scope": s.scope, "claimed": s.claimed, "released": s.released, "done": s.done, "buried": s.buried})
        })
        .collect();
    json!({
        "claimed": stats.claimed, "released": stats.released, "done": stats.done, "buried": stats.buried,
        "bytes": stats.bytes, "scopes": by_scope,
    })
}

fn shown(store: &str, stats: &Stats, scopes: &[ScopeStats]) -> String {
    let row = |name: &str, counts: [u64; 4]| {
        let total = counts.iter().sum();
        std::iter::once(name.to_owned()).chain(counts.into_iter().chain([total]).map(grouped)).collect()
    };
    let mut rows: Vec<Vec<String>> = scopes
        .iter()
        .map(|s| row(s.scope.as_deref().unwrap_or(NOT_KEPT), [s.claimed, s.released, s.done, s.buried]))
        .collect();
    rows.push(row("all", [stats.claimed, stats.released, stats.done, stats.buried]));
    let head = ["SCOPE", "CLAIMED", "RELEASED", "DONE", "BURIED", "TOTAL"];
    let size = stats.bytes.map_or_else(String::new, |bytes| format!(", {}", output::bytes(bytes)));
    format!("{store}{size}\n\n{}", output::table(&head, &[1, 2, 3, 4, 5], &rows))
}
