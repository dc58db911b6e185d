//! The flags of `ackonce demo`.

use std::time::Duration;

use ackonce::Class;
use ackonce_amqp::lapin::uri::AMQPUri;
use clap::{Args, ValueEnum, value_parser};
use serde::{Deserialize, Serialize};

use crate::stores::StoreUrl;

const EXAMPLES: &str = "\
Examples:
  ackonce demo                                    everything in this process and a temporary directory
  ackonce demo --class leased                     what a claim without a transaction can and cannot do
  ackonce demo --messages 20000 --kills 30 --seed 7
  ackonce demo --brokers localhost:9092           on a Kafka of yours; its topic is deleted afterwards
  ackonce demo --broker amqp --url amqp://guest:guest@localhost:5672/%2f
  ackonce demo --json | jq .ackonce.doubled

Exit code: 0 if nothing was lost, nor doubled beyond what the class states; 1 if something was; 2 for wrong usage.";

/// Publish messages with duplicates, kill their consumers, audit the effects
///
/// Publishes real webhook payloads to Kafka or RabbitMQ, some of them twice, and has three consumers process them: one
/// wrapped in Ackonce, and two written by hand, of which one records an ID before and one after its effect. Each is a
/// group of worker processes that are killed with `kill -9` at the same random points of its progress and started
/// again. In the end every effect is held against every message.
///
/// A worker counts a delivery when it takes it from the broker, in a file that outlives it. `messages/s` is all
/// deliveries over all the time its group took, with kills and the broker's rebalances.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Deliveries to publish, duplicates included
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub messages: u32,
    /// Percentage of deliveries that repeat the ID of another
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = value_parser!(u32).range(0..=99))]
    pub duplicates: u32,
    /// Number of SIGKILLs for each group of workers
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub kills: u32,
    /// Number of SIGSTOPs, each followed by SIGCONT after a while, for each group of workers
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub pauses: u32,
    /// Decides payloads, IDs, duplicates, victims and moments [default: random, and printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Worker processes of each group
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Guarantee class of the wrapped handler
    #[arg(long, value_enum, default_value_t = DemoClass::Inbox)]
    pub class: DemoClass,
    /// Store of Ackonce's IDs: sqlite:PATH, postgres://… or, but for class inbox, redis://… [default: a new file
    /// in a temporary directory]
    #[arg(long, value_name = "URL")]
    pub store: Option<StoreUrl>,
    /// Whose messages
    #[arg(long, value_enum, default_value_t = BrokerKind::Kafka)]
    pub broker: BrokerKind,
    /// A RabbitMQ, for --broker amqp, as amqp://USER:PASSWORD@HOST:PORT/VHOST; an exchange and three queues are made
    /// there, and deleted afterwards
    #[arg(long, value_name = "URL", value_parser = amqp_url)]
    pub url: Option<String>,
    /// A Kafka cluster, as HOST:PORT,… [default: a broker inside this process]
    #[arg(long, value_name = "LIST")]
    pub brokers: Option<String>,
    /// Length of a lease without a heartbeat: the wait of a killed worker's messages
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = value_parser!(u64).range(200..=60_000))]
    pub lease_ms: u64,
    /// Print one JSON object instead of tables and progress
    #[arg(long)]
    pub json: bool,
}

fn amqp_url(text: &str) -> Result<String, String> {
    text.parse::<AMQPUri>().map(|_| text.to_owned())
}

impl DemoArgs {
    /// The length of a lease without a heartbeat.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// The brokers that the demo can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BrokerKind {
    /// Kafka, inside this process unless told otherwise
    Kafka,
    /// A real RabbitMQ
    Amqp,
}

/// The classes that the demo can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DemoClass {
    /// Effect and record in one transaction of the store's database: never lost, never doubled
    Inbox,
    /// Claim, run, complete: doubled only if killed between effect and record
    Leased,
    /// Leased, and the target takes each idempotency key once
    Keyed,
    /// Record, then run: may lose, never doubles
    AtMostOnce,
}

impl DemoClass {
    /// The class it stands for.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Inbox => Class::Inbox,
            Self::Leased => Class::Leased,
            Self::Keyed => Class::Keyed,
            Self::AtMostOnce => Class::AtMostOnce,
        }
    }
}
