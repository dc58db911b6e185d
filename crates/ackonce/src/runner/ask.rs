//! Claims and settlements beside the deliveries: a schedule's questions to the store.

use std::pin::pin;

use crate::ticket::Why;
use crate::{
    ClaimRequest, Claimed, Delivery, Error, ErrorKind, Handler, Result, Runner, Settled, Settlement,
};

use super::admit::{Patience, Trouble};

impl<D: Delivery, H: Handler<D::Message>> Runner<D, H> {
    /// Claims in one trip, repeated until the store has answered; one answer for each request, in order.
    pub(crate) async fn ask(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let inner = &*self.inner;
        let mut patience = Patience::default();
        loop {
            let trip = pin!(inner.store.claim_unboxed(requests));
            let Some(answer) = inner.attempt(&patience, trip).await else { return Err(stopped()) };
            match inner.store_answer(answer, &mut patience).await {
                Ok(answers) => return answers.into_iter().collect(),
                Err(Trouble::End(why)) => return Err(error_of(why)),
                Err(Trouble::Again) if inner.stop.is_on() => return Err(stopped()),
                Err(Trouble::Again) => {}
            }
        }
    }

    /// Settles in one trip, repeated until the store has answered; one answer for each settlement, in order.
    pub(crate) async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let answers = self.inner.settle(settlements).await;
        answers.into_iter().map(|answer| answer.map_err(error_of)).collect()
    }

    /// Counts slots that are not run.
    pub(crate) fn count_skipped(&self, slots: u64) {
        self.inner.meters.skipped.add(slots);
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Stopped, "the runner was stopped")
}

fn error_of(why: Why) -> Error {
    match why {
        Why::Fatal(error) | Why::Unavailable(error) => error,
        _ => stopped(),
    }
}
