//! Faults of the broker.

use std::process::{Command, Stdio};
use std::time::Duration;

use ackonce_testkit::seed::Dice;
use ackonce_tests::amqp::Rabbit;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::{FaultKind, outage};
use crate::broker::BrokerKind;

/// The broker, and a worker that may join as a guest.
pub(crate) struct BrokerFaults {
    pub(crate) kind: BrokerKind,
    pub(crate) guest: Box<dyn Fn() -> Command + Send>,
}

impl BrokerFaults {
    pub(super) async fn strike(&self, kind: FaultKind, dice: &mut Dice) -> Result<()> {
        match kind {
            FaultKind::Rebalance => self.rebalance(dice).await,
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

struct Guest(std::process::Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
