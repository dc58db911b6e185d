#![doc = include_str!("../README.md")]

pub mod demo;
pub mod ledger;
pub mod stores;

/// An error and its causes, joined by colons. A cause that the text before it has told already is left out: many errors
/// tell their own.
#[must_use]
pub fn tell(error: &anyhow::Error) -> String {
    ackonce::chain(error.as_ref()).to_string()
}
