//! Wrap a RabbitMQ handler: `cargo run -p examples --bin rabbitmq_handler -- --help`

use std::net::SocketAddr;
use std::process::ExitCode;

use ackonce::IdSource;
use ackonce_amqp::{AmqpConsumer, MESSAGE_ID_PROPERTY, OnMissing};
use anyhow::{Context as _, Result};
use clap::{CommandFactory, FromArgMatches, Parser, value_parser};
use examples::admin::{Admin, Health};
use examples::rabbitmq::{self, Servers};
use examples::{Flags, Missing, source};

/// Consumes a RabbitMQ queue, classic or quorum; each message takes effect once
#[derive(Debug, Parser)]
struct Args {
    /// RabbitMQ's URL; given again, further nodes of its cluster, tried in turn
    #[arg(long, value_name = "URL", default_value = rabbitmq::URL)]
    url: Vec<String>,
    /// Declared, as a quorum queue, where it is missing
    #[arg(long, default_value = "orders")]
    queue: String,
    /// Messages delivered and not acknowledged [default: four times the concurrency]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    prefetch: Option<u16>,
    /// Destination of messages that will never succeed [default: they are recorded only]; declared, with a queue of its
    /// name, where it is missing
    #[arg(long, value_name = "EXCHANGE")]
    dead_letter: Option<String>,
    /// Treatment of a message without an ID [default: the consumer's own]
    #[arg(long, value_enum)]
    on_missing: Option<Missing>,
    /// Serve /metrics and /healthz at HOST:PORT, or at a port of the loopback interface
    #[arg(long, value_name = "ADDRESS", value_parser = examples::admin::address)]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    let args = parse();
    examples::log();
    examples::run(consume(args))
}

async fn consume(args: Args) -> Result<()> {
    let shutdown = ackonce::shutdown_on_signals()?;
    let Args { url, queue, dead_letter, flags, .. } = &args;
    let servers = Servers::new(url.clone())?;
    let admin = Admin::start(args.admin).await?;
    let scope = flags.scope(&format!("{queue}/handler"))?;
    let store = flags.open(&shutdown).await?;
    servers.declare_missing(flags.on_start.into(), &shutdown, queue, dead_letter.as_deref()).await?;
    let mut consumer = servers
        .consumer(queue, &scope, store.deduplicator())
        .with_ids(flags.ids())
        .with_settings(flags.settings())
        .with_shutdown(shutdown);
    if let Some(messages) = args.prefetch {
        consumer = consumer.with_prefetch(messages);
    }
    if let Some(exchange) = dead_letter {
        consumer = consumer.with_dead_letters(exchange);
    }
    if let Some(missing) = args.on_missing {
        consumer = consumer.with_on_missing(match missing {
            Missing::Bury => OnMissing::Bury,
            Missing::Stop => OnMissing::Stop,
        });
    }
    admin.watch(health(&consumer));
    let ended = consumer.run(examples::handler(flags, &store).await?).await;
    let counts = ended.with_context(|| format!("consuming {queue} at {servers}"))?;
    eprintln!("{counts:?}");
    Ok(())
}

fn health(consumer: &AmqpConsumer) -> impl Fn() -> Health + Send + Sync + 'static {
    let health = consumer.health();
    move || Health { live: health.is_live(), ready: health.is_ready(), report: health.report().to_string() }
}

/// The shared flags, but for `--id`: AMQP has a property for that.
fn parse() -> Args {
    let id = |text: &str| match text {
        "property" => Ok(IdSource::Header(MESSAGE_ID_PROPERTY.to_owned())),
        text => source(text).map_err(|why| why.replace("it is ", "it is property, ")),
    };
    let help = "Where message IDs are: property (message_id), header:NAME, key (the routing key), json:/POINTER or \
        payload; if given again, the first one present decides";
    let command =
        Args::command().mut_arg("id", |arg| arg.value_parser(id).default_value("property").help(help));
    Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
