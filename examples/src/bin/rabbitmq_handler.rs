//! Wrap a RabbitMQ handler: `cargo run -p examples --bin rabbitmq_handler -- --help`

use ackonce::{Context, IdSource, Keyed};
use ackonce_amqp::{AmqpConsumer, MESSAGE_ID, Message};
use ackonce_sqlite::InboxTx;
use clap::{CommandFactory, FromArgMatches, Parser, value_parser};
use examples::{Flags, HandlerClass, ToFile, ToTable, rabbitmq, source};

/// Consumes a RabbitMQ queue, classic or quorum; each message takes effect once
#[derive(Debug, Parser)]
struct Args {
    /// Where RabbitMQ is
    #[arg(long, value_name = "URL", default_value = rabbitmq::URL)]
    url: String,
    /// Declared, as a quorum queue, where it is missing
    #[arg(long, default_value = "orders")]
    queue: String,
    /// Messages delivered and not acknowledged [default: four times the concurrency]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    prefetch: Option<u16>,
    /// Where messages go that will never succeed [default: they are recorded only]; declared, with a queue of its
    /// name, where it is missing
    #[arg(long, value_name = "EXCHANGE")]
    dead_letter: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { url, queue, prefetch, dead_letter, flags } = parse();
    examples::log();
    let shutdown = ackonce::shutdown_on_signals()?;
    rabbitmq::declare_missing(&url, &queue, dead_letter.as_deref()).await?;
    let store = flags.open().await?;
    let scope = flags.scope(&format!("{queue}/handler"))?;
    let mut consumer = AmqpConsumer::new(&url, &queue, &scope, store.deduplicator())
        .with_ids(flags.ids())
        .with_settings(flags.settings())
        .with_shutdown(shutdown);
    if let Some(messages) = prefetch {
        consumer = consumer.with_prefetch(messages);
    }
    if let Some(exchange) = dead_letter {
        consumer = consumer.with_dead_letters(&exchange);
    }
    let counts = if flags.class == HandlerClass::Inbox {
        let (effect, sqlite) = ToTable::new(&flags, &store)?;
        let inbox = sqlite.inbox(move |tx: &InboxTx<'_>, cx: &Context, _: &Message| effect.apply(tx, cx));
        consumer.run(effect.delayed(inbox.with_window(flags.window()))).await?
    } else {
        let effect = ToFile::new(&flags)?;
        let handler = move |cx: Context, _: Message| effect.clone().apply(cx);
        match flags.class {
            HandlerClass::Keyed => consumer.run(Keyed(handler)).await?,
            _ => consumer.run(handler).await?,
        }
    };
    eprintln!("{counts:?}");
    Ok(())
}

/// The shared flags, but for `--id`: AMQP has a property for that.
fn parse() -> Args {
    let id = |text: &str| match text {
        "property" => Ok(IdSource::Header(MESSAGE_ID.to_owned())),
        text => source(text).map_err(|why| why.replace("it is ", "it is property, ")),
    };
    let help = "Where message IDs are: property (message_id), header:NAME, key (the routing key), json:/POINTER or \
        payload; if given again, the first one present decides";
    let command =
        Args::command().mut_arg("id", |arg| arg.value_parser(id).default_value("property").help(help));
    Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
