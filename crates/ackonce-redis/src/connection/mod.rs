//! The connection: its address, its checks, the thread that drives it, and a trip on it.

mod address;
mod client;
#[cfg(feature = "cluster")]
mod cluster;
#[allow(clippy::module_inception, reason = "one of several parts of the folder")]
mod connection;
mod limits;
mod link;
mod replicas;
mod rights;
mod secret;
mod server;
mod settings;
mod thread;
mod trip;

use address::Address;
pub(crate) use client::Client;
use connection::Connection;
use link::Link;
use thread::Thread;
