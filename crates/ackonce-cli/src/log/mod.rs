//! The log: lines on standard error, for people or for machines.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::refusal::Refusal;

/// The lines that are shown unless the environment's `RUST_LOG` says otherwise.
const FILTER: &str = "warn,ackonce=info";

/// Flags of the log.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogArgs {
    /// Form of the log's lines, on standard error; `RUST_LOG` chooses them, warnings and ackonce=info by default
    #[arg(long, value_enum, value_name = "FORM", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// A JSON object each, for machines
    Json,
}

/// Starts the log of this process.
///
/// # Errors
/// `RUST_LOG` cannot be parsed, or there is a log already.
pub fn start(args: LogArgs) -> Result<(), Refusal> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            Refusal::usage(format!("the variable RUST_LOG of the environment: {error}; write it as {FILTER}"))
        })?,
        _ => EnvFilter::new(FILTER),
    };
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_timer(SystemTime)
        .with_env_filter(filter);
    let started = match args.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|error| Refusal::environment(format!("the log could not be started: {error}")))
}
