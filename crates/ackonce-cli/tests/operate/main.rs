//! The operator's verbs as an operator runs them: the built program, on each store and broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod imports;
mod letters;
mod outboxes;
mod pages;
mod pipes;
mod program;
mod redrives;
mod refusals;
mod rights;
mod screens;
mod seeded;
