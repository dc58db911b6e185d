#![doc = include_str!("../README.md")]

mod flags;

pub mod demo;
pub mod ledger;
pub mod stores;

pub use flags::named as flags_named;

/// An error and its causes, joined by colons. A cause that the text before it has told already is left out: many errors
/// tell their own.
/// Options of a store's URL are named beside the Rust names that a remedy may have.
#[must_use]
pub fn tell(error: &anyhow::Error) -> String {
    let text = told(error);
    let options = flags_named(&text, stores::OPTIONS_OF);
    if options.is_empty() { text } else { format!("{text} (in a store's URL: {options})") }
}

fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.is_empty() => cause,
        cause if told.contains(&cause) => told,
        cause => format!("{told}: {cause}"),
    })
}
