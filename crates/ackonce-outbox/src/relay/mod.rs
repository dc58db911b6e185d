//! The relay: reads rows of the ranges that it holds, publishes them in order per lane, and removes those that are confirmed.

mod away;
mod ends;
mod lanes;
mod ranges;
mod run;
mod start;
#[cfg(test)]
mod tests;

pub(crate) use self::run::Relay;
