//! The cost of traces that are not recorded: the same messages through a relay without a hook for traces, and with one that
//! samples none of them, as messages for a second of the relay's processor time. The time on the clock varies by a fifth
//! with the broker beside it, ten times the difference that is looked for.

use tokio::runtime::Runtime;

use crate::harness::{Arm, Round, compare};
use crate::kafka::topic::Topic;
use crate::rabbitmq::queue::Queues;
use crate::relay::{ChildOptions, lines_by_processor, source};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Bootstrap servers; without them a cluster in this process
    #[arg(long, env = "ACKONCE_TEST_KAFKA")]
    brokers: Option<String>,
    /// The RabbitMQ, as amqp://user:password@host:port/%2f; without one there is Kafka only
    #[arg(long, env = "ACKONCE_TEST_AMQP")]
    url: Option<String>,
    #[arg(long, default_value_t = 400_000)]
    messages: usize,
    /// Messages on each queue of RabbitMQ
    #[arg(long, default_value_t = 40_000)]
    queued: usize,
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

const OFF: &str = "no traces";
const SAMPLED_OUT: &str = "sampled out";

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let topic = Topic::fill(options.brokers.as_deref(), options.messages)?;
    let dir = tempfile::tempdir()?;
    for (store, is_file) in [("memory", false), ("SQLite", true)] {
        let child = || {
            let from = source(&topic)?;
            let file = is_file.then(|| dir.path().join(topic.group()).display().to_string());
            anyhow::Ok(ChildOptions::new(from, "stdout:", file))
        };
        let off = || lines_by_processor(&child()?, topic.messages);
        let on = || lines_by_processor(&child()?.sampled_out(), topic.messages);
        let arms = vec![Arm::timed(OFF, off), Arm::timed(SAMPLED_OUT, on)];
        compare(&format!("Kafka to stdout:, {store}"), options.rounds, arms)?;
    }
    let Some(url) = &options.url else { return Ok(()) };
    let runtime = Runtime::new()?;
    let queues = runtime.block_on(Queues::connect(url, 1000))?;
    let queued = |is_traced: bool| -> anyhow::Result<Round> {
        let queue = runtime.block_on(queues.fill(options.queued))?;
        let child = ChildOptions::new(format!("{url}?queue={}", queue.name), "stdout:", None);
        let child = if is_traced { child.sampled_out() } else { child };
        let round = lines_by_processor(&child, options.queued);
        runtime.block_on(queue.delete())?;
        round
    };
    let arms = vec![Arm::timed(OFF, || queued(false)), Arm::timed(SAMPLED_OUT, || queued(true))];
    compare("RabbitMQ to stdout:, memory", options.rounds, arms)
}
