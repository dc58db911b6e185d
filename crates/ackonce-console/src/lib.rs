#![doc = include_str!("../README.md")]

mod access;
mod api;
mod console;
mod feed;
pub mod names;
mod options;
mod page;
mod problem;
mod shared;
pub mod snapshot;

pub use access::{AccessToken, AccessTokenError};
pub use console::{Console, Snapshots};
pub use options::{ConsoleOptions, Program, Writes};
