#![doc = include_str!("../README.md")]

pub mod demo;
pub mod ledger;
pub mod stores;

/// An error and its causes, joined by colons. A cause that the text before it has told already is left out: many errors
/// tell their own.
#[must_use]
pub fn tell(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.is_empty() => cause,
        cause if told.contains(&cause) => told,
        cause => format!("{told}: {cause}"),
    })
}
