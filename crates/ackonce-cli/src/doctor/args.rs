//! The flags of `ackonce doctor`.

use std::path::PathBuf;
use std::time::Duration;

use ackonce::{Backoff, Settings};
use ackonce_relay::{IdPlace, RelayUrlError, SOURCES, SinkUrl, SourceUrl};
use clap::Args;

use super::checks;
use super::plan::RelayPlan;
use crate::refusal::Refusal;
use crate::relay::args::{backoff, retry_topic};
use crate::stores::StoreUrl;

/// Check a store, a source and a relay's settings for everything that silently breaks the promise
///
/// Nothing is changed: no record is written, no offset committed, no message acknowledged, no topic created.
#[derive(Debug, Args)]
#[command(after_long_help = help())]
pub struct DoctorArgs {
    /// Check this store: memory:, sqlite:PATH, redis://…, postgres://…
    #[arg(long, value_name = "URL")]
    pub(super) store: Option<StoreUrl>,
    /// Check this source, too; the forms are below
    // Not parsed by clap, whose errors repeat the value.
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
    /// Messages to look at: the latest of Kafka's partitions (by default 100), the head of a RabbitMQ queue (by default 0: they
    /// are given back with the mark `redelivered`)
    #[arg(long, value_name = "N")]
    pub(super) sample: Option<usize>,
    /// Read every page of a SQLite file
    #[arg(long)]
    pub(super) deep: bool,
    /// A check whose finding is known and accepted: it is shown, and does not count; once for each
    #[arg(long, value_name = "CHECK", value_parser = known)]
    pub(super) accept: Vec<String>,
    /// Print the result as a JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Print all checks with their meaning, and end
    #[arg(long)]
    pub(super) list: bool,
    /// Longest wait for the store, and for the source with its sample
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(super) answer_timeout: Duration,
    /// Read settings from this file, that of `ackonce relay` for instance
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Place of the message ID, as of `ackonce relay`
    #[arg(long = "id", value_name = "PLACE")]
    ids: Vec<IdPlace>,
    /// Lease of the relay [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
    /// Window of the relay [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    window: Option<Duration>,
    /// Back-off of the relay [default: 250ms..2m]
    #[arg(long, value_name = "MIN..MAX", value_parser = backoff)]
    backoff: Option<Backoff>,
    /// Topic or exchange for messages that are given up
    #[arg(long, value_name = "TOPIC|EXCHANGE")]
    dead_letter: Option<String>,
    /// Kafka's retry topics with their delays
    #[arg(long, value_name = "TOPIC=TIME", value_delimiter = ',', value_parser = retry_topic)]
    retry_topics: Vec<(String, Duration)>,
    /// Longest wait of the relay for its sink's answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Sink of the relay
    // Not parsed by clap, whose errors repeat the value.
    #[arg(long, value_name = "SINK")]
    to: Option<String>,
    #[command(flatten)]
    rest: RelaysOwn,
}

/// Settings of a relay that no check reads, so that its file and its environment serve here as they are.
#[derive(Debug, Args)]
struct RelaysOwn {
    #[arg(long, hide = true)]
    scope: Option<String>,
    #[arg(long, hide = true)]
    class: Option<String>,
    #[arg(long, hide = true)]
    attempts: Option<String>,
    #[arg(long, hide = true)]
    concurrency: Option<String>,
    #[arg(long, hide = true)]
    order: Option<String>,
    #[arg(long, hide = true)]
    shutdown_timeout: Option<String>,
    #[arg(long, hide = true)]
    start_timeout: Option<String>,
    #[arg(long, hide = true)]
    admin: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    admin_exposed: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_writes: Option<String>,
    #[arg(long, hide = true)]
    console_token: Option<String>,
    #[arg(long = "console-host", hide = true, value_delimiter = ',')]
    console_hosts: Vec<String>,
    #[arg(long, hide = true)]
    log_format: Option<String>,
}

fn help() -> String {
    format!(
        "Sources:\n{SOURCES}\n\n\
         Examples:\n  \
         ackonce doctor --store 'postgres://app@localhost/app'\n  \
         ackonce doctor --store redis://localhost --from 'kafka://localhost:9092/orders?group=billing' --dead-letter orders.dead\n  \
         ackonce doctor --config relay.toml --accept kafka-replication --json\n\n\
         Exit codes: 0 sound; 1 weakened, or a check could not be made; 4 the promise is broken; 2 for wrong usage; 3 if the store\n\
         or the source could not be asked."
    )
}

fn known(name: &str) -> Result<String, String> {
    match checks::all().any(|check| check.name == name) {
        true => Ok(name.to_owned()),
        false => Err("no check has that name; ackonce doctor --list has all of them".to_owned()),
    }
}

impl DoctorArgs {
    /// The source, understood.
    pub(super) fn source(&self) -> Result<Option<SourceUrl>, Refusal> {
        let parsed = self.from.as_deref().map(str::parse::<SourceUrl>).transpose();
        parsed.map_err(|e: RelayUrlError| Refusal::usage(format!("--from: {e}")))
    }

    /// The settings that a relay would have for that source.
    pub(super) fn plan(&self, source: Option<&SourceUrl>) -> Result<RelayPlan, Refusal> {
        let defaults = source.map_or_else(|| Ok(Settings::default()), SourceUrl::defaults);
        let defaults = defaults.map_err(|e| Refusal::usage(format!("--from: {}", ackonce::chain(&e))))?;
        let sink = self.to.as_deref().map(str::parse::<SinkUrl>).transpose();
        let sink = sink.map_err(|e: RelayUrlError| Refusal::usage(format!("--to: {e}")))?;
        Ok(RelayPlan {
            lease: self.lease.unwrap_or(defaults.lease),
            window: self.window.unwrap_or(defaults.window),
            timeout: self.timeout,
            backoff: self.backoff.unwrap_or(defaults.backoff).max,
            retry_topics: self.retry_topics.clone(),
            dead_letter: self.dead_letter.clone(),
            ids: self.ids.clone(),
            sink_limit: sink.and_then(|sink| sink.max_bytes()),
        })
    }
}
