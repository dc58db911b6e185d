//! One delivery from a state to its end.

use smallvec::smallvec;

use crate::handler::Handler;
use crate::ticket::Delivery;

use super::Inner;
use super::rare::rare;
use super::run::Ran;
use super::slot::Slot;
use super::state::{Outcome, State, sole};

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// Takes a delivery from one state to the next, to its end. A slot is taken before a claim is made, so that a claimed
    /// message starts at once, and given back while a delivery waits.
    pub(super) async fn deliver(&self, mut state: State<D>, mut slot: Option<Slot>) -> Outcome<D> {
        loop {
            if !state.needs_slot()
                && let Some(free) = slot.take()
            {
                drop(free);
                self.slot_freed.notify_one();
            }
            state = match state {
                State::Waiting(job, wait) => match self.slot_after(&job, wait).await {
                    Ok(free) => {
                        slot = Some(free);
                        sole(self.claim(smallvec![job]).await)
                    }
                    Err(why) => State::unsettled(job, why),
                },
                State::Quarantined(job) => match rare(self.slot_in_quarantine(&job)).await {
                    Ok(alone) => {
                        slot = Some(alone);
                        sole(rare(self.claim_trip(smallvec![job])).await)
                    }
                    Err(why) => State::unsettled(job, why),
                },
                State::Redriving(job) => rare(self.redrive(job)).await,
                State::Claimed(ticket) => self.after_claim(ticket),
                State::Running(ticket) => {
                    let hold = self.hold(std::slice::from_ref(&ticket));
                    let Ran { states, hold } = self.run(smallvec![ticket], hold).await;
                    sole(self.settle(states, Some(&hold)).await)
                }
                State::Probing(ticket, probe) => rare(self.probe(ticket, probe.as_ref())).await,
                State::Completing(..) | State::Releasing(..) => {
                    sole(rare(self.settle(smallvec![state], None)).await)
                }
                State::Burying(burying) => rare(self.bury(burying)).await,
                State::Ended(outcome) => return outcome,
            };
        }
    }
}
