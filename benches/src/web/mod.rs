//! The HTTP layers in front of a route, beside the route alone.

mod by_hand;
mod http;
mod load;
mod proxy;
pub(crate) mod server;
mod webhook;

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Arm, compare, settings};
use load::Load;

pub(crate) use http::run as http;
pub(crate) use proxy::run as proxy;
pub(crate) use webhook::run as webhook;

#[derive(Args)]
pub(crate) struct Options {
    /// Length of each turn
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Turns of each arm
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Connections that are kept alive, each with one request under way
    #[arg(long, default_value_t = 32)]
    connections: usize,
}

/// Compares servers that are up; `request` makes one that nobody has sent before.
fn measure(
    title: &str,
    options: &Options,
    servers: Vec<(&str, std::net::SocketAddr)>,
    load: &Load,
) -> anyhow::Result<()> {
    settings(json!({
        "connections": options.connections,
        "seconds of a turn": options.seconds,
        "store": "in memory",
        "cores": std::thread::available_parallelism()?.get(),
    }));
    let client = Builder::new_current_thread().enable_all().build()?;
    let length = Duration::from_secs_f64(options.seconds);
    let arms = servers.into_iter().map(|(name, at)| {
        let client = &client;
        Arm::timed(name, move || client.block_on(load.run(at, options.connections, length)))
    });
    compare(title, options.rounds, arms.collect())
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}
