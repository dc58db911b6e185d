//! `ackonce outbox`.

use std::time::{Duration, SystemTime};

use ackonce_outbox::{Outbox, Parked, PostgresOutbox, SqliteOutbox};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::{ChangeArgs, StoreArgs, change_limit, refused};
use super::confirm;
use super::ids::{clean, shown};
use super::list::brief;
use super::output::{self, Listing, OutputArgs, count, grouped};
use super::times::{at, millis, span};
use crate::layers::{EffectiveSettings, Origin};
use crate::refusal::Refusal;
use crate::stores::Opened;

/// Parked messages of a page, and of a change.
const PAGE: usize = 500;

/// Look at an outbox, list the messages that are parked in it, put them back, or discard them
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    ackonce outbox status --store postgres://app@db/app\n  \
    ackonce outbox list --store sqlite:app.db --reason-contains 'topic orders'\n  \
    ackonce outbox redrive --store sqlite:app.db --row 17 --row 18 --reason 'the topic is there, ticket 4711'\n  \
    ackonce outbox redrive --store sqlite:app.db --all --reason 'the topic is there, ticket 4711' --dry-run\n\n\
    A parked message goes out again at its place among the messages of its key, under its own ID, with those that wait behind it. A \
    discarded one is gone, and those behind it go out. Both leave a row in the table outbox_audit. A run that is killed has \
    changed whole pages; start it again. For list, --reason stands for --reason-contains. --json prints an object: waiting, oldest_ms, parked for status; for list one a line: \
    row, to, key, id, reason, parked_at, age_ms, behind; for a change its number.")]
pub struct OutboxArgs {
    /// The state of the outbox, its parked messages, or a change of them
    #[arg(value_enum)]
    action: Action,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Only this row; the flag may be given more than once
    #[arg(long = "row", value_name = "N")]
    rows: Vec<i64>,
    /// Change all rows that the filters choose
    #[arg(long)]
    all: bool,
    /// Only messages whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason_contains: Option<String>,
    /// Only messages that were parked so long ago, such as 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// The most messages to list (0 for all) or to change [default: list 100, change all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Say how many messages would be changed, and end
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Show the number of messages that wait and are parked
    Status,
    /// Show the parked messages
    List,
    /// Put parked messages back; they go out
    Redrive,
    /// Delete parked messages for good; those behind them go out
    Discard,
}

pub(super) async fn run(args: &OutboxArgs, settings: &EffectiveSettings) -> Result<(), Refusal> {
    let outbox = open(args).await?;
    match args.action {
        Action::Status => status(args, &outbox).await,
        Action::List => {
            // Not the reason for changes that the environment may name.
            let is_flag = settings.get("reason").is_some_and(|setting| setting.origin == Origin::Flag);
            let reason = args.change.reason.as_deref().filter(|_| is_flag);
            list(args, &outbox, args.reason_contains.as_deref().or(reason)).await
        }
        Action::Redrive | Action::Discard => change(args, &outbox).await,
    }
}

async fn open(args: &OutboxArgs) -> Result<Outbox, Refusal> {
    // Before a server is asked that has none.
    let without = || Refusal::usage("--store: an outbox is in sqlite:PATH or postgres://…");
    if !args.store.store.has_inbox() {
        return Err(without());
    }
    let opened = match args.store.open().await? {
        Opened::Sqlite(store) => {
            SqliteOutbox::open_existing(&store).await.map(|outbox| Outbox::clone(&outbox))
        }
        Opened::Postgres(store) => {
            PostgresOutbox::open_existing(&store).await.map(|outbox| Outbox::clone(&outbox))
        }
        _ => return Err(without()),
    };
    opened.map_err(|error| refused(&error))
}

async fn status(args: &OutboxArgs, outbox: &Outbox) -> Result<(), Refusal> {
    let lag = outbox.lag().await.map_err(|error| refused(&error))?;
    if args.output.json {
        return output::json(
            &json!({"waiting": lag.waiting, "oldest_ms": millis(lag.oldest), "parked": lag.parked}),
        );
    }
    let oldest = match lag.waiting {
        0 => String::new(),
        _ => format!(", the oldest for {}", span(lag.oldest)),
    };
    let parked = format!("parked, with those that wait behind them: {}", grouped(lag.parked));
    output::text(&format!("waiting for a relay: {}{oldest}\n{parked}\n", count(lag.waiting, "message")))
}

impl OutboxArgs {
    fn chooses(&self, parked: &Parked, reason: Option<&str>) -> bool {
        let is_old = |least: Duration| age(parked).is_some_and(|age| age >= least);
        (self.rows.is_empty() || self.rows.contains(&parked.row))
            && reason.is_none_or(|text| parked.reason.contains(text))
            && self.older_than.is_none_or(is_old)
    }
}

fn age(parked: &Parked) -> Option<Duration> {
    SystemTime::now().duration_since(parked.at).ok()
}

/// The parked messages that the flags and a part of their reason choose, at most so many.
async fn chosen(
    args: &OutboxArgs,
    outbox: &Outbox,
    reason: Option<&str>,
    most: usize,
) -> Result<Vec<Parked>, Refusal> {
    let (mut chosen, mut from) = (Vec::new(), i64::MIN);
    loop {
        let page = outbox.parked(from, PAGE).await.map_err(|error| refused(&error))?;
        let next = page.last().and_then(|last| last.row.checked_add(1));
        let is_last = page.len() < PAGE;
        chosen.extend(page.into_iter().filter(|parked| args.chooses(parked, reason)));
        match next {
            Some(next) if !is_last && chosen.len() < most => from = next,
            _ => {
                chosen.truncate(most);
                return Ok(chosen);
            }
        }
    }
}

async fn list(args: &OutboxArgs, outbox: &Outbox, reason: Option<&str>) -> Result<(), Refusal> {
    let limit = match args.limit {
        Some(0) => usize::MAX,
        limit => usize::try_from(limit.unwrap_or(100)).unwrap_or(usize::MAX),
    };
    let mut parked = chosen(args, outbox, reason, limit.saturating_add(1)).await?;
    let is_cut = parked.len() > limit;
    parked.truncate(limit);
    LISTING.print(args.output, &parked, is_cut)
}

const LISTING: Listing<Parked> = Listing {
    empty: "no parked message\n",
    head: &["ROW", "TO", "KEY", "ID", "BEHIND", "PARKED", "REASON"],
    numbers: &[0, 4],
    row,
    object,
};

fn row(parked: &Parked) -> Vec<String> {
    vec![
        parked.row.to_string(),
        clean(&parked.message.to),
        parked.message.key.as_deref().map(shown).unwrap_or_default(),
        shown(parked.message.id.as_bytes()),
        grouped(parked.behind),
        age(parked).map_or_else(|| "?".to_owned(), |age| format!("{} ago", span(age))),
        brief(&parked.reason),
    ]
}

fn object(parked: &Parked) -> serde_json::Value {
    json!({
        "row": parked.row, "to": parked.message.to, "key": parked.message.key.as_deref().map(shown),
        "id": shown(parked.message.id.as_bytes()), "reason": parked.reason, "parked_at": at(parked.at),
        "age_ms": age(parked).map(millis), "behind": parked.behind,
    })
}

async fn change(args: &OutboxArgs, outbox: &Outbox) -> Result<(), Refusal> {
    if args.rows.is_empty() && !args.all {
        return Err(Refusal::usage("--row: name the rows to change with --row N, or take all with --all"));
    }
    let note = if args.dry_run { None } else { Some(args.change.note()?) };
    let limit = usize::try_from(change_limit(args.limit)?).unwrap_or(usize::MAX);
    let chosen = chosen(args, outbox, args.reason_contains.as_deref(), limit).await?;
    let rows: Vec<i64> = chosen.iter().map(|parked| parked.row).collect();
    let number = rows.len() as u64;
    let Some(note) = note else {
        return match args.output.json {
            true => output::json(&json!({"would_change": number})),
            false => output::text(&format!("would be changed: {}\n", count(number, "message"))),
        };
    };
    let (verb, done) = match args.action {
        Action::Discard => ("discarded for good", "discarded"),
        _ => ("put back and sent", "redriven"),
    };
    let change =
        format!("{} would be {verb}, and those that wait behind them sent", count(number, "message"));
    confirm::ask_of(number, args.change.consent, &change)?;
    let mut changed = 0;
    for page in rows.chunks(PAGE) {
        changed += match args.action {
            Action::Discard => outbox.discard(page, &note).await,
            _ => outbox.redrive(page, &note).await,
        }
        .map_err(|error| refused(&error))?;
    }
    match args.output.json {
        true => output::json(&json!({done: changed})),
        false => output::text(&format!("{done}: {}\n", count(changed, "message"))),
    }
}
