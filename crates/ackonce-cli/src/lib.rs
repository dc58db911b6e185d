#![doc = include_str!("../README.md")]
// They panic where nobody reads: `streams` has both.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod flags;
mod refusal;
mod streams;

pub mod admin;
pub mod console;
pub mod demo;
pub mod doctor;
pub mod layers;
pub mod ledger;
pub mod log;
pub mod operate;
pub mod proxy;
pub mod relay;
pub mod stores;
pub mod traces;
pub mod watch;

pub use flags::named as flags_named;
pub use refusal::Refusal;
pub use streams::note;

/// An error and its causes, joined by colons, as [`ackonce::chain`] does.
/// Options of a store's URL are named beside the Rust names that a remedy may have.
#[must_use]
pub fn tell(error: &anyhow::Error) -> String {
    let text = ackonce::chain(error.as_ref()).to_string();
    let options = flags_named(&text, stores::OPTIONS_OF);
    if options.is_empty() { text } else { format!("{text} (in a store's URL: {options})") }
}
