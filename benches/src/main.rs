//! `ackonce-benches WHAT`: each measurement beside the others it is compared with, in turns, on this machine.
//! `scripts/bench` runs them all.

mod awake;
mod handlers;
mod harness;
mod inboxes;
mod kafka;
mod latency;
mod memory;
mod messages;
mod outbox;
mod plot;
mod processed;
mod rabbitmq;
mod relay;
mod steps;
mod store;
mod stores;
mod traces;
mod web;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Append each figure to this file as well, as lines of JSON
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// Measure only arms with this in their names
    #[arg(long, global = true)]
    only: Option<String>,
}

#[derive(Subcommand)]
enum What {
    /// A Kafka topic: the bare loop, loops by hand, Ackonce one at a time and in batches, on each store.
    Kafka(kafka::Options),
    /// Partitions of a Kafka topic side by side: lanes, keys, slow handlers, one stuck message.
    Lanes(kafka::lanes::Options),
    /// A RabbitMQ queue: bare consumers, loops by hand, Ackonce one at a time and in batches, on each store.
    Rabbitmq(rabbitmq::Options),
    /// The waits of a message at a hundred messages a second, on each store and through Kafka.
    Latency(latency::Options),
    /// The memory of a consumer over ten million messages. A store at a time: memory that one has freed may stay with the process.
    Memory(memory::Options),
    /// A JSON echo with and without the Idempotency-Key layer.
    Http(web::Options),
    /// `ackonce proxy` beside the same forwarder without its layer.
    Proxy(web::Options),
    /// A handler of Stripe's events with and without the webhook layer.
    Webhook(web::Options),
    /// The inbox of PostgreSQL through each driver, alone and in batches.
    Inboxes(inboxes::Options),
    /// Steps of a handler, and newest wins, through the runner on each store.
    Steps(steps::Options),
    /// The relay: Kafka to standard output beside a bare consumer, Kafka to an HTTP service.
    Relay(relay::Options),
    #[command(hide = true)]
    RelayChild(relay::ChildOptions),
    /// A relay without traces, and with traces that are sampled out.
    Traces(traces::Options),
    /// The outbox from commit to confirmed, beside the loop by hand that polls and updates row by row.
    Outbox(outbox::Options),
    /// Draws the figures that `--json` has collected.
    Plot(plot::Options),
    /// Each store: claims and settlements at several sizes, duplicates, expiry, bytes per ID.
    Store(store::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(path) = &cli.json {
        harness::append_to(path)?;
    }
    if let Some(only) = cli.only {
        harness::ONLY.get_or_init(|| only);
    }
    match cli.what {
        What::Kafka(options) => kafka::run(&options),
        What::Lanes(options) => kafka::lanes::run(&options),
        What::Rabbitmq(options) => rabbitmq::run(&options),
        What::Latency(options) => latency::run(&options),
        What::Memory(options) => memory::run(&options),
        What::Http(options) => web::http(&options),
        What::Proxy(options) => web::proxy(&options),
        What::Outbox(options) => outbox::run(&options),
        What::Webhook(options) => web::webhook(&options),
        What::Inboxes(options) => inboxes::run(&options),
        What::Steps(options) => steps::run(&options),
        What::Relay(options) => relay::run(&options),
        What::RelayChild(options) => relay::run_child(&options),
        What::Traces(options) => traces::run(&options),
        What::Plot(options) => plot::run(&options),
        What::Store(options) => store::run(&options),
    }
}
