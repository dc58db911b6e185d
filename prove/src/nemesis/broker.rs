//! Faults of the broker.

use std::process::{Command, Stdio};
use std::time::Duration;

use ackonce_testkit::seed::Dice;
use ackonce_tests::amqp::Rabbit;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{mpsc, oneshot};

use super::{FaultKind, outage};
use crate::broker::BrokerKind;

/// RabbitMQ's consumer_timeout where it is a fault, and the time between two looks at it, in milliseconds.
const ACK_TIMEOUT: u64 = 1000;
/// Its default.
const USUAL_ACK_TIMEOUT: u64 = 1_800_000;
const USUAL_TICK: u64 = 60_000;

/// The broker, and a worker that may join as a guest.
pub(crate) struct BrokerFaults {
    pub(crate) kind: BrokerKind,
    pub(crate) guest: Box<dyn Fn() -> Command + Send>,
    /// Faults that the producer makes, since it has to send everything again after some.
    pub(crate) producer: mpsc::Sender<Order>,
}

/// A fault that the producer is to make.
pub(crate) struct Order {
    pub(crate) kind: FaultKind,
    pub(crate) done: oneshot::Sender<()>,
}

impl BrokerFaults {
    pub(super) async fn strike(&self, kind: FaultKind, dice: &mut Dice) -> Result<()> {
        match kind {
            FaultKind::Rebalance => self.rebalance(dice).await,
            FaultKind::Recreate | FaultKind::Unreadable => {
                let (done, ended) = oneshot::channel();
                // The producer ends with the chaos; its last order is then nobody's.
                if self.producer.send(Order { kind, done }).await.is_ok() {
                    let _ = ended.await;
                }
                Ok(())
            }
            FaultKind::BrokerConnections => {
                let rabbit = Rabbit::real().context("RabbitMQ is not there")?;
                let closing = move || drop(rabbit.ctl(&["close_all_connections", "a fault"]));
                Ok(tokio::task::spawn_blocking(closing).await?)
            }
            _ if self.kind == BrokerKind::Kafka => outage(kind, "kafka", dice).await,
            _ => outage(kind, "rabbitmq", dice).await,
        }
    }

    /// A guest joins, works for a moment, and leaves in good order.
    async fn rebalance(&self, dice: &mut Dice) -> Result<()> {
        let mut guest =
            Guest((self.guest)().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        tokio::time::sleep(dice.between(&(Duration::from_millis(500)..=Duration::from_secs(3)))).await;
        kill_process(Pid::from_child(&guest.0), Signal::TERM)?;
        // Longer than its shutdown takes; dropped, it is killed.
        for _ in 0..1000 {
            if guest.0.try_wait()?.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Shortens RabbitMQ's consumer_timeout for channels that open from now on, or sets it to its default again.
pub(crate) async fn limit_acks(shortens: bool) -> Result<()> {
    let rabbit = Rabbit::real().context("RabbitMQ is not there")?;
    let (limit, tick) =
        if shortens { (ACK_TIMEOUT, ACK_TIMEOUT / 2) } else { (USUAL_ACK_TIMEOUT, USUAL_TICK) };
    let set = format!(
        "application:set_env(rabbit, consumer_timeout, {limit}), \
         application:set_env(rabbit, channel_tick_interval, {tick})."
    );
    Ok(tokio::task::spawn_blocking(move || drop(rabbit.ctl(&["eval", &set]))).await?)
}

struct Guest(std::process::Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
