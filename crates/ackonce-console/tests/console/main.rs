//! The console: its refusals over HTTP, and its page in a browser.
#![allow(unreachable_pub, reason = "modules of one test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod browser;
mod common;
mod pages;
mod refusals;
