//! The run of a fleet: workers are killed, paused and started again until a condition holds.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::fleet::{Fleet, FleetError, Progress};
use super::history::History;
use super::supervisor::Supervisor;

/// The time between two checks of the condition.
const LOOK: Duration = Duration::from_millis(50);

impl Fleet {
    /// Keeps the workers running through faults until the condition holds, then ends them with SIGTERM.
    ///
    /// # Errors
    /// The condition did not hold in time, or a worker could not be started or ended with an error of its own.
    /// The error shows the last lines of every worker.
    pub async fn run<F, Fut>(&self, mut until: F) -> Result<History, FleetError>
    where
        F: FnMut(Progress) -> Fut,
        Fut: Future<Output = bool>,
    {
        let mut supervisor = Supervisor::new(self);
        let progress = Mutex::new(Progress::default());
        let now = || *progress.lock().unwrap_or_else(PoisonError::into_inner);
        let condition = async {
            while !until(now()).await {
                tokio::time::sleep(LOOK).await;
            }
        };
        let end = {
            let chaos = pin!(supervisor.cause_chaos(&progress));
            let bounded = pin!(tokio::time::timeout(self.bound, condition));
            match select(chaos, bounded).await {
                Either::Left((error, _)) => Err(error),
                Either::Right((Err(_), _)) => {
                    Err(format!("the condition did not hold within {:?}", self.bound))
                }
                Either::Right((Ok(()), _)) => Ok(()),
            }
        };
        let end = match end {
            Ok(()) => supervisor.end_all().await,
            Err(fault) => Err(fault),
        };
        match end {
            Ok(()) => Ok(supervisor.into_history()),
            Err(fault) => {
                let tails = supervisor.tails();
                Err(FleetError { fault, tails, history: supervisor.into_history() })
            }
        }
    }
}
