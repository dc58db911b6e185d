//! Burials: the dead-letter place first, then the record. They hold no handler slot, and leave their batch.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::Instrument;

use crate::adapter::{MAX_REASON_LEN, cut};
use crate::bury::{Burial, BurialProof, BuryError, Letter};
use crate::chain::chain;
use crate::dropping::{drop_in, poll_in};
use crate::error::{Error, ErrorKind};
use crate::heartbeat::Hold;
use crate::inspect::{Note, RecordTarget};
use crate::key::hex;
use crate::observe::{decision, panic_text, trace};
use crate::record;
use crate::settle::{Attempt, Settle, Settled, Settlement};
use crate::ticket::{Delivery, Job, SettledAs, Stage, Ticket, Why};

use super::Inner;
use super::state::{Burying, State, sole};

/// The longest that one letter is waited for; a place that never answers is asked again. Longer than any broker's
/// driver tries by itself, so that letters do not pile up in it.
const LETTER_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest wait before a dead-letter place that was away is asked again.
const LETTER_RETRY_MAX: Duration = Duration::from_secs(30);

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// A claimed message that goes to the dead-letter place. It leaves the group whose claims `hold` keeps.
    pub(super) fn burying(
        &self,
        ticket: Ticket<D>,
        reason: impl Into<String>,
        uncertain: bool,
        hold: Option<&Hold>,
    ) -> State<D> {
        let hold = match hold {
            Some(group) => group.part(ticket.lease.clone()),
            None => self.hold(std::slice::from_ref(&ticket)),
        };
        State::Burying(Box::new(Burying { ticket, reason: truncate_reason(reason.into()), uncertain, hold }))
    }

    /// The letter, then the record. A crash in between repeats both.
    pub(super) async fn bury(&self, burying: Box<Burying<D>>) -> State<D> {
        let Burying { ticket, mut reason, uncertain, hold: _hold } = *burying;
        ticket.job.delivery.note(Stage::Burying);
        let proof = BurialProof::of(&ticket.lease, ticket.job.round());
        let key = ticket.job.key.clone();
        let mut burial = Burial { key, reason, attempts: ticket.lease.attempt, proof };
        let letter = match self.traced_letter(&ticket, &burial).await {
            Ok(letter) => letter,
            Err(why) => return self.burial_interrupted(ticket, uncertain, why).await,
        };
        if let Some(part) = self.explain_fallback(&ticket, &letter) {
            burial.reason = truncate_reason(format!("{}; {part}", burial.reason));
        }
        reason = burial.reason;
        let action = Settle::Bury { window: self.settings.window, reason: reason.clone() };
        let settlement = Settlement::new(&ticket.lease, action);
        match sole(self.settle_all(std::slice::from_ref(&settlement)).await) {
            Ok(Settled::Yes) => {
                self.metrics.letters_reduced.add(u64::from(matches!(letter, Ok(Letter::Reduced(_)))));
                self.metrics.buried_without_letter.add(u64::from(letter.is_err()));
                self.metrics.buried.add(1);
                let place = ticket.job.delivery.place();
                decision!(warn, self.metrics, "buried", ticket.job.key, Some(&ticket.lease), reason, place);
                State::Ended(Ok(ticket.job.receipt(SettledAs::Buried)))
            }
            answer => self.not_settled(ticket.job, answer),
        }
    }

    /// The same in a span of its own, if the message is traced.
    async fn traced_letter(
        &self,
        ticket: &Ticket<D>,
        burial: &Burial,
    ) -> Result<Result<Letter, BuryError>, Why> {
        let Ticket { job, span: run, .. } = ticket;
        let outgoing = trace::letter(run.as_deref(), &job.delivery, &job.key, self.graveyard.name());
        let Some(outgoing) = outgoing else { return self.send_letter(ticket, burial).await };
        let sent = self.send_letter(ticket, burial).instrument(outgoing.span()).await;
        match &sent {
            Ok(Ok(_)) => {
                if let Some(run) = run {
                    run.ends("buried");
                }
            }
            Ok(Err(error)) => outgoing.fails(error),
            Err(_) => outgoing.fails(&"it was interrupted"),
        }
        sent
    }

    /// Asks the dead-letter place until it has the letter, or never will; `Err` says why it is not asked any more.
    async fn send_letter(
        &self,
        ticket: &Ticket<D>,
        burial: &Burial,
    ) -> Result<Result<Letter, BuryError>, Why> {
        let (job, mut failures) = (&ticket.job, 0);
        loop {
            if !job.delivery.is_current() {
                return Err(Why::NotCurrent);
            }
            let mut asking =
                pin!(Some(AssertUnwindSafe(self.graveyard.bury(&job.delivery, burial)).catch_unwind()));
            let answer = tokio::select! {
                biased;
                () = self.abort.on() => Err(Why::Stopped),
                answer = poll_in(asking.as_mut()) => Ok(answer.unwrap_or_else(|panic| {
                    Err(format!("the dead-letter place panicked: {}", panic_text(panic.as_ref())).into())
                })),
                () = tokio::time::sleep(LETTER_TIMEOUT) => Ok(Err("no answer within ten minutes".into())),
            };
            drop_in(asking, "the dead-letter place");
            let error = match answer? {
                Err(BuryError::Retry(error)) => error,
                answered => {
                    if self.letter_outage.recovered() {
                        tracing::warn!(target: "ackonce", scope = job.key.scope().name(),
                            "the dead-letter place takes letters again");
                    }
                    return Ok(answered);
                }
            };
            failures += 1;
            self.letter_outage.warn(|more| {
                tracing::warn!(target: "ackonce", error = %chain(&*error), failures, more, scope = job.key.scope().name(),
                    id = %job.key.id().escape_ascii(), place = job.delivery.place(),
                    "the dead letter was not confirmed, trying again; its message holds back its own lane only");
            });
            let wait = self.settings.backoff.after(failures).min(LETTER_RETRY_MAX);
            self.unless_unwanted(job, tokio::time::sleep(wait)).await?;
        }
    }

    /// Says so where the letter is not whole; the words for the record.
    fn explain_fallback(&self, ticket: &Ticket<D>, letter: &Result<Letter, BuryError>) -> Option<String> {
        let (key, place) = (&ticket.job.key, ticket.job.delivery.place());
        match letter {
            Ok(Letter::Whole) => None,
            Ok(Letter::Reduced(left_out)) => {
                decision!(
                    warn,
                    self.metrics,
                    "letter-reduced",
                    key,
                    Some(&ticket.lease),
                    place,
                    left_out,
                    "the dead-letter place does not take the whole message"
                );
                Some(format!("its dead letter is reduced: {left_out}"))
            }
            Err(BuryError::Never(error) | BuryError::Retry(error)) => {
                decision!(error, self.metrics, "buried-without-letter", key, Some(&ticket.lease), place, error = %chain(&**error),
                    "no dead-letter place will ever have this message: the store's record is all that is left of it");
                Some(format!("it has no dead letter: {}", chain(&**error)))
            }
        }
    }

    /// The runner stopped, or the delivery was taken back, before the letter was confirmed.
    async fn burial_interrupted(&self, ticket: Ticket<D>, uncertain: bool, why: Why) -> State<D> {
        // Released, the next claim would run it; a possible effect is left to the lease, to be found as vanished.
        if !uncertain {
            let release = Settlement::new(&ticket.lease, self.hand_back(Attempt::Counts));
            self.settle_all(std::slice::from_ref(&release)).await;
        }
        State::unsettled(ticket.job, why)
    }

    /// A dead letter of a buried message has come back. If it is that of the last burial, the record is released, and the
    /// message is claimed anew; the later its round, the longer it waits, for it may go in circles. A crash in between
    /// leaves the record released, and the next delivery finds it so.
    pub(super) async fn redrive(&self, mut job: Job<D>) -> State<D> {
        let Some(letter) = job.letter.as_mut() else { return State::Waiting(job, Duration::ZERO) };
        letter.is_spent = true;
        let round = letter.proof.round;
        let redrive = letter.proof.redrive(job.key.clone(), self.settings.window);
        job.delivery.note(Stage::Retrying);
        match sole(self.settle_all(std::slice::from_ref(&redrive)).await) {
            Err(why) => State::unsettled(job, why),
            // The letter of an earlier burial, or redriven meanwhile: the next claim tells.
            Ok(Settled::Lost) => State::Waiting(job.renewed(), Duration::ZERO),
            Ok(Settled::Yes) => {
                self.metrics.redriven.add(1);
                let note = job.letter.as_mut().and_then(|letter| letter.note.take());
                let note = note.unwrap_or_else(|| Note {
                    actor: self.scope.name().to_owned(),
                    reason: "its dead letter was published again".to_owned(),
                });
                note.log("redrive", RecordTarget::Key(&job.key), record::State::Buried);
                let wait = if round == 0 { Duration::ZERO } else { self.settings.backoff.after(round) };
                State::Waiting(job.renewed(), wait)
            }
        }
    }

    /// The burial of a delivery whose ID belongs to another payload: filed beside the first one's record.
    pub(super) fn bury_mismatch(&self, job: Job<D>) -> State<D> {
        let Some(fingerprint) = job.fingerprint else {
            let message = "the store reports a mismatch for a claim that carried no fingerprint";
            return State::unsettled(job, Why::Fatal(Error::new(ErrorKind::Protocol, message)));
        };
        let mut id = hex(&fingerprint.0).into_bytes();
        id.push(b':');
        id.extend_from_slice(job.key.id());
        let reason = "the same message ID came before with another payload";
        self.claim_beside(job, "mismatch", id, reason.into())
    }

    /// The burial of a delivery that the store can never claim under its own key.
    pub(super) fn unclaimable(&self, job: Job<D>, error: Error) -> State<D> {
        // Nor under a key of ours: it is not the message that the store refuses. Or its payload would be given up.
        if job.dead_lettered.is_some() || !self.buries {
            return State::unsettled(job, Why::Fatal(error));
        }
        decision!(error, self.metrics, "unclaimable", job.key, None, place = job.delivery.place(), error = %chain(&error));
        let id = hex(job.key.digest()).into_bytes();
        self.claim_beside(
            job,
            "unclaimable",
            id,
            format!("the store cannot take its claim: {}", chain(&error)),
        )
    }

    /// Claims it again to be buried, under a key that can meet no message's.
    fn claim_beside(&self, job: Job<D>, purpose: &str, id: Vec<u8>, reason: String) -> State<D> {
        match job.key.scope().beside(purpose).with_max_id_len(id.len()).key(id) {
            Ok(key) => {
                let job = Job { key, ..job }.renewed().dead_lettered(truncate_reason(reason));
                State::Waiting(job, Duration::ZERO)
            }
            Err(error) => {
                let error = Error::new(ErrorKind::Protocol, error.to_string());
                State::unsettled(job, Why::Fatal(error))
            }
        }
    }
}

/// The beginning of a reason that is too long.
fn truncate_reason(mut reason: String) -> String {
    const MARK: &str = " … (cut)";
    if reason.len() > MAX_REASON_LEN {
        reason.truncate(cut(&reason, MAX_REASON_LEN - MARK.len()).len());
        reason.push_str(MARK);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        for text in ["x", "é", "€", "😀"] {
            for more in 0..4 {
                let short = truncate_reason("x".repeat(more) + &text.repeat(MAX_REASON_LEN + 1));
                assert!((MAX_REASON_LEN - 4..=MAX_REASON_LEN).contains(&short.len()), "{}", short.len());
                assert!(short.ends_with("(cut)"));
            }
        }
        assert_eq!(truncate_reason("short".into()), "short");
    }
}
