//! What the examples share: their flags, and an effect that can be counted. What a consumer of yours needs of
//! Ackonce is in each binary, under `src/bin`.

mod effect;
mod flags;
pub mod rabbitmq;
mod serve;

pub use effect::{Delayed, ToFile, ToTable};
pub use flags::{Flags, HandlerClass, source};
pub use serve::serve;

/// Logs to stderr what `RUST_LOG` asks for, or warnings, but not lapin's of what is mended; `ackonce=debug` is the audit trail, a line for each decision.
pub fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,lapin=off"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
}
