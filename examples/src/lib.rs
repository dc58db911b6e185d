//! Code that the examples share: their flags, a handler whose effects can be counted, exit codes. A consumer of
//! yours needs of Ackonce is in each binary, under `src/bin`, and its handler in `src/effect.rs`.

pub mod admin;
mod effect;
mod end;
mod flags;
pub mod rabbitmq;
mod serve;
mod trouble;

use std::io::IsTerminal as _;

pub use effect::{Effect, handler};
pub use end::{Stopped, Usage, run};
pub use flags::{Flags, HandlerClass, Missing, Start, source};
pub use serve::serve;
pub use trouble::On;

/// Logs to stderr as `RUST_LOG` says, or warnings without lapin's of errors that are handled; `ackonce=debug` is the audit trail, a line for each decision.
pub fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,lapin=off"));
    // Colours are for terminals: in a file they would stand between a field and its value.
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
}
