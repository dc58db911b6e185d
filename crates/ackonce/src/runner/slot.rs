//! Slots of handlers, and the waits of deliveries that have none.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::ticket::{Delivery, Job, Why};

use super::Inner;
use super::rare::rare;

/// The interval at which a waiting delivery checks that it is still wanted.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The right to run a handler, until dropped.
pub(super) struct Slot {
    _handler: OwnedSemaphorePermit,
    /// For a message that may kill its worker: the right to be the only one.
    _quarantine: Option<OwnedSemaphorePermit>,
}

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// A slot, if one is free.
    pub(super) fn free_slot(&self) -> Option<Slot> {
        let handler = self.handlers.clone().try_acquire_owned().ok()?;
        Some(Slot { _handler: handler, _quarantine: None })
    }

    /// A slot after this wait, or the reason for which the delivery is not wanted any more.
    pub(super) async fn slot_after(&self, job: &Job<D>, wait: Duration) -> Result<Slot, Why> {
        // Most need not wait.
        if wait.is_zero()
            && self.unwanted(job).is_none()
            && let Some(slot) = self.free_slot()
        {
            return Ok(slot);
        }
        rare(async {
            self.unless_unwanted(job, tokio::time::sleep(wait)).await?;
            self.next_slot(job, None).await
        })
        .await
    }

    /// A slot for a message that may kill its worker. It waits for its turn without a slot.
    pub(super) async fn slot_in_quarantine(&self, job: &Job<D>) -> Result<Slot, Why> {
        let turn = self.unless_unwanted(job, self.quarantine.clone().acquire_owned()).await?;
        self.next_slot(job, turn.ok()).await
    }

    async fn next_slot(&self, job: &Job<D>, quarantine: Option<OwnedSemaphorePermit>) -> Result<Slot, Why> {
        let handler = self.unless_unwanted(job, self.handlers.clone().acquire_owned()).await?;
        // It cannot be: nobody closes the semaphore.
        let handler = handler.map_err(|_| Why::Stopped)?;
        Ok(Slot { _handler: handler, _quarantine: quarantine })
    }

    /// The reason for which a delivery is not started, if there is one.
    pub(super) fn unwanted(&self, job: &Job<D>) -> Option<Why> {
        match () {
            () if self.stop.is_on() => Some(Why::Stopped),
            () if !job.delivery.is_current() => Some(Why::NotCurrent),
            () => None,
        }
    }

    /// Waits for `ready`, unless the runner is stopped or the delivery taken back meanwhile.
    pub(super) async fn unless_unwanted<T>(
        &self,
        job: &Job<D>,
        ready: impl Future<Output = T>,
    ) -> Result<T, Why> {
        let mut ready = pin!(ready);
        if !job.delivery.is_current() {
            return Err(Why::NotCurrent);
        }
        loop {
            let done = tokio::select! {
                biased;
                () = self.stop.on() => return Err(Why::Stopped),
                done = &mut ready => Some(done),
                () = tokio::time::sleep(CHECK_EVERY) => None,
            };
            match done {
                _ if !job.delivery.is_current() => return Err(Why::NotCurrent),
                Some(done) => return Ok(done),
                None => {}
            }
        }
    }
}
