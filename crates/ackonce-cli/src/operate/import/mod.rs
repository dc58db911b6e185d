//! `ackonce import`.

mod csv_rows;
mod redis_keys;

use std::path::PathBuf;
use std::time::Duration;

use ackonce::Key;
use ackonce::store::{Inspect, Remembered, remember};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::args::{ConsentArgs, StoreArgs, refused};
use super::ids::shown;
use super::output::{self, OutputArgs, grouped};
use super::progress::Progress;
use super::{confirm, times};
use crate::refusal::Refusal;
use csv_rows::CsvRows;
use redis_keys::RedisKeys;

/// Messages in one trip.
const BATCH: usize = 1000;
/// Examples that a dry run shows.
const EXAMPLES: usize = 5;

/// Record the messages of another deduplicator as done, so that a team can switch without a day of duplicates
///
/// Each is claimed and completed; an existing record is never changed.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["from", "csv"])))]
#[command(after_long_help = "Examples:\n  \
    ackonce import --from redis://localhost/0 --pattern 'seen:*' --scope billing/charge --store sqlite:dedup.db --dry-run\n  \
    ackonce import --csv seen.csv --store postgres://app@db/app --window 7d --yes\n\n\
    Keys of a SET NX scheme: the message ID is the part of a key at the pattern's *, and the time for which it is remembered is \
    the rest of the key's own (--window for a key without one). Import only keys of messages that took effect: --value chooses \
    keys by their value, where a scheme marks messages under way.\n\
    A CSV has the columns scope, ID and, if you like, the time for which it is remembered (7d); a first row `scope,id` is a heading; \
    an ID may be hex:… or base64:…; - is standard input.\n\
    A run that is killed may be started again: messages that are there are passed over. --skip passes rows of a CSV over that are \
    known to be there.")]
pub struct ImportArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Redis with the keys: redis://USER:PASSWORD@HOST:PORT/DB
    // Not parsed by clap, whose errors repeat the value.
    #[arg(long, value_name = "URL", requires = "pattern", requires = "scope")]
    from: Option<String>,
    /// Pattern of the keys, as Redis's SCAN takes it
    #[arg(long, value_name = "PATTERN", requires = "from")]
    pattern: Option<String>,
    /// Take the whole key as the message ID
    #[arg(long, requires = "from")]
    whole_key: bool,
    /// Only keys with this value
    #[arg(long, value_name = "TEXT", requires = "from")]
    value: Option<String>,
    /// Scope of the keys' messages
    #[arg(long, value_name = "NAME", requires = "from")]
    scope: Option<String>,
    /// File of rows scope,ID[,TIME]; - is standard input
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Pass over so many rows of the CSV
    #[arg(long, value_name = "N", default_value_t = 0, requires = "csv")]
    skip: u64,
    /// Time for which a message is remembered whose row or key does not say it
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = times::lasting)]
    window: Duration,
    /// Count the messages, show some, and end
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: ConsentArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A message to remember, and for how long.
type Row = (Key, Duration);

/// The place that rows come from.
enum Rows {
    Csv(Box<CsvRows>),
    Redis(Box<RedisKeys>),
}

impl Rows {
    async fn open(args: &ImportArgs) -> Result<Self, Refusal> {
        match (&args.from, &args.csv) {
            (Some(url), _) => {
                let (pattern, scope) = (args.pattern.as_deref(), args.scope.as_deref());
                let (pattern, scope) = (pattern.unwrap_or_default(), scope.unwrap_or_default());
                let mut keys = RedisKeys::open(url, pattern, scope, args.window).await?;
                if args.whole_key {
                    keys = keys.whole();
                }
                Ok(Self::Redis(Box::new(keys.with_value(args.value.as_deref()))))
            }
            (None, Some(path)) => Ok(Self::Csv(Box::new(CsvRows::open(path, args.skip, args.window)?))),
            (None, None) => {
                Err(Refusal::usage("name a source: --from redis://… with --pattern, or --csv FILE"))
            }
        }
    }

    /// The next rows, `BATCH` or so; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<Row>>, Refusal> {
        match self {
            Self::Csv(rows) => rows.next(BATCH),
            Self::Redis(keys) => keys.next(BATCH).await,
        }
    }
}

pub(super) async fn run(args: &ImportArgs) -> Result<(), Refusal> {
    let is_stdin = args.csv.as_deref().is_some_and(|path| path.as_os_str() == "-");
    // Standard input can be read once, and keys have no faults that would have to be found first.
    let is_read_once = is_stdin || (args.from.is_some() && args.consent.yes);
    let total = match is_read_once && !args.dry_run {
        true => None,
        false => {
            let (count, examples) = look(args).await?;
            if args.dry_run {
                return dry_run(args, count, &examples);
            }
            Some(count)
        }
    };
    let store = args.store.inspect().await?;
    let number =
        total.map_or_else(|| "The messages of standard input".to_owned(), |n| output::count(n, "message"));
    confirm::ask(args.consent, &format!("{number} would be recorded as done in {}", args.store.store))?;
    import(args, &*store, total).await
}

/// Reads all rows, so that a fault in one of them is found before anything is recorded.
async fn look(args: &ImportArgs) -> Result<(u64, Vec<Row>), Refusal> {
    let (mut rows, mut count, mut examples) = (Rows::open(args).await?, 0, Vec::new());
    while let Some(batch) = rows.next().await? {
        count += batch.len() as u64;
        let room = EXAMPLES.saturating_sub(examples.len());
        examples.extend(batch.into_iter().take(room));
    }
    Ok((count, examples))
}

fn dry_run(args: &ImportArgs, count: u64, examples: &[Row]) -> Result<(), Refusal> {
    if args.output.json {
        return output::json(&json!({"would_import": count}));
    }
    let rows: Vec<_> = examples
        .iter()
        .map(|(key, window)| vec![key.scope().name().to_owned(), shown(key.id()), times::span(*window)])
        .collect();
    let table = match rows.is_empty() {
        true => String::new(),
        false => format!("\n{}", output::table(&["SCOPE", "ID", "REMEMBERED FOR"], &[], &rows)),
    };
    output::text(&format!("{} would be recorded as done\n{table}", output::count(count, "message")))
}

#[derive(Debug, Default)]
struct Imported {
    now: u64,
    already: u64,
    in_flight: u64,
}

impl Imported {
    fn seen(&self) -> u64 {
        self.now + self.already + self.in_flight
    }
}

async fn import(args: &ImportArgs, store: &dyn Inspect, total: Option<u64>) -> Result<(), Refusal> {
    let mut rows = Rows::open(args).await?;
    let (mut done, mut progress) = (Imported::default(), Progress::new("imported", total));
    while let Some(batch) = rows.next().await? {
        let answers = remember(store, &batch).await.map_err(|error| {
            let (why, seen) = (refused(&error), done.seen());
            let skip =
                if args.csv.is_some() { format!(" with --skip {}", args.skip + seen) } else { String::new() };
            Refusal::environment(format!(
                "{why}; {} went through: start it again{skip}",
                output::count(seen, "message")
            ))
        })?;
        for answer in answers {
            match answer {
                Remembered::Now => done.now += 1,
                Remembered::Already => done.already += 1,
                Remembered::InFlight => done.in_flight += 1,
            }
        }
        progress.at(done.seen());
    }
    let rate = progress.rate(done.seen());
    progress.finish();
    let Imported { now, already, in_flight } = done;
    if args.output.json {
        return output::json(&json!({
            "imported": now, "already_there": already, "in_flight": in_flight, "rate_per_second": rate,
        }));
    }
    let mut text = format!("imported: {} ({} a second)\n", output::count(now, "message"), grouped(rate));
    for (number, why) in
        [(already, "there already"), (in_flight, "left to their next run, or to the worker that holds them")]
    {
        if number > 0 {
            text.push_str(&format!("{why}: {}\n", grouped(number)));
        }
    }
    output::text(&text)
}
