//! The log: lines on standard error, for people or for machines.

#[cfg(feature = "otel")]
use ackonce::trace;
use clap::{Args, ValueEnum};
use tracing::Subscriber;
#[cfg(feature = "otel")]
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::refusal::Refusal;
use crate::traces::{self, Traces};

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

/// Starts the log of this process, and its traces if the environment asks for them.
///
/// # Errors
/// `RUST_LOG` cannot be parsed, there is a log already, or a variable `OTEL_…` cannot be honoured.
pub fn start(args: LogArgs) -> Result<Traces, Refusal> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            Refusal::usage(format!("the variable RUST_LOG of the environment: {error}; write it as {FILTER}"))
        })?,
        _ => EnvFilter::new(FILTER),
    };
    #[cfg(feature = "otel")]
    if let Some((spans, traces)) = traces::layer()? {
        // The spans are the collector's, and stand in no line.
        let lines = lines(args.log_format).with_filter(
            filter.and(filter_fn(|of| of.target() != trace::TARGET).with_max_level_hint(LevelFilter::TRACE)),
        );
        started(Registry::default().with(spans).with(lines).try_init())?;
        return Ok(traces);
    }
    started(Registry::default().with(filter).with(lines(args.log_format)).try_init())?;
    #[cfg(not(feature = "otel"))]
    if traces::wanted()? {
        tracing::warn!(target: "ackonce", "the variables OTEL_… ask for traces, and this program was built without the \
            feature `otel`: there are none");
    }
    Ok(Traces::default())
}

/// The layer that writes lines.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_timer(SystemTime);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

fn started(started: Result<(), TryInitError>) -> Result<(), Refusal> {
    started.map_err(|error| Refusal::environment(format!("the log could not be started: {error}")))
}
