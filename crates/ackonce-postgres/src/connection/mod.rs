//! Connections to the server: the pool, its TLS, the thread that drives it, and one statement on one of them.

mod client;
mod connector;
mod guard;
mod statement;
mod thread;
mod tls;

pub(crate) use client::{HELD, Locks, PoolClient};
pub(crate) use connector::Connector;
pub(crate) use guard::ConnectionGuard;
pub(crate) use statement::{Param, prepared, send, send_prepared};
pub(crate) use thread::{Thread, Waiting};
pub(crate) use tls::connector;
