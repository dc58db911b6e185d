//! The claim of an entity around the run of one of its versions.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::highest::Highest;
use super::version::EntityVersion;
use crate::claim::{ClaimRequest, Claimed, Lease, Previous, Token};
use crate::class::Class;
use crate::context::{Along, Context, Trips};
use crate::failure::Failure;
use crate::guard::DEFAULT_WINDOW;
use crate::handler::Answer;
use crate::heartbeat::{Grant, Hold, is_nearly_over};
use crate::settle::{Attempt, Settle, Settled, Settlement};
use crate::switch::Switch;

/// The purpose of the scope beside the messages' own.
const SCOPE: &str = "newest";

/// The answer to a version that would run.
pub(super) enum Entered {
    /// It runs, under the claim of its entity.
    Newest(Entity),
    /// A newer version took effect, or this one did.
    Stale,
}

/// A claimed entity.
pub(super) struct Entity(Option<Claim>);

struct Claim {
    trips: Arc<dyn Trips>,
    hold: Hold,
    window: Duration,
    along: Arc<Along>,
}

/// Claims the entity, and compares the version with the highest that took effect. A context made by hand has no store:
/// every version runs.
pub(super) async fn enter(
    cx: &Context,
    EntityVersion { entity, version }: EntityVersion,
) -> Result<Entered, Failure> {
    let Some(trips) = cx.trips()? else { return Ok(Entered::Newest(Entity(None))) };
    if trips.class() == Class::AtMostOnce {
        return Err(Failure::permanent("Newest is for handlers of class leased, keyed and inbox"));
    }
    let key = cx.key().scope().beside(SCOPE).key(entity).map_err(Failure::permanent)?;
    let window = cx.window().unwrap_or(DEFAULT_WINDOW);
    let request =
        ClaimRequest { key, token: Token::random(), lease: trips.lease(), window, fingerprint: None };
    let sent = Instant::now();
    let lease = match trips.claim(request).await? {
        Claimed::Acquired(lease) => lease,
        Claimed::Busy { .. } => {
            return Err(Failure::infrastructure("another version of its entity is in hand"));
        }
        Claimed::Done(_) | Claimed::Mismatch(_) => {
            return Err(Failure::Retry(
                "the record of its entity's versions was settled by something else".into(),
            ));
        }
    };
    // Another version may have the entity by the time that the handler runs. This lease ends by itself.
    if is_nearly_over(sent.elapsed(), trips.lease()) {
        return Err(Failure::infrastructure(
            "the claim of its entity was answered after two thirds of the lease",
        ));
    }
    let highest = lease.progress.as_ref().map(|progress| Highest::read(progress)).transpose();
    let decided = highest.map_err(Failure::from).and_then(|highest| {
        let Some(highest) = highest else { return Ok(Ordering::Greater) };
        let order = version.order(&highest.version).ok_or_else(|| {
            let text = "its version and the highest that took effect are of two kinds, which have no order";
            Failure::Retry(format!("{text}: {} and {}", version.text(), highest.version.text()).into())
        })?;
        if order.is_le() && highest.message != *cx.key().digest() {
            trips.note_stale(cx.lease(), &version.text(), &highest.version.text(), order.is_eq());
            cx.mark_stale();
        }
        // A crash between version and record leaves an attempt that vanished. A first attempt at a version that took effect
        // is that of a record which was redriven or forgotten since: an order to run again.
        let is_ordered = order.is_eq() && cx.attempt() == 1 && cx.previous() != Previous::Vanished;
        Ok(if is_ordered && highest.message == *cx.key().digest() { Ordering::Greater } else { order })
    });
    if let Ok(Ordering::Greater) = decided {
        let highest = Highest { version, message: *cx.key().digest() };
        let progress = highest.write(lease.progress.as_ref());
        let save = Settlement::new(&lease, Settle::Save { progress });
        let along = Arc::new(Along::new(lease.fence, save));
        let hold = trips.hold(Arc::new(Grant::new(lease, Switch::default())), sent);
        return Ok(Entered::Newest(Entity(Some(Claim { trips, hold, window, along }))));
    }
    trips.settle(&[release(&lease, window)]).await?;
    decided.map(|_| Entered::Stale)
}

impl Entity {
    /// The context of the handler's run.
    pub(super) fn context(&self, cx: Context) -> Context {
        match &self.0 {
            Some(claim) => cx.with_entity(claim.along.clone()),
            None => cx,
        }
    }

    /// Ready once the claim is lost.
    pub(super) async fn lost(&self) {
        match &self.0 {
            Some(claim) => claim.hold.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Saves the version if it took effect, and gives the entity to the next one.
    pub(super) async fn leave(self, answer: Answer) -> Answer {
        let Some(Claim { trips, hold, window, along }) = self.0 else { return answer };
        let release = Settlement { action: release_of(window), ..along.save.clone() };
        match answer {
            Ok(effect) => {
                let mut settlements = vec![release];
                // An inbox has committed it with the effect.
                if !along.is_taken() {
                    settlements.insert(0, along.save.clone());
                }
                let settled = trips.settle(&settlements).await;
                drop(hold);
                match (along.is_taken(), settled) {
                    // Its release may come late: then the lease ends it.
                    (true, _) => Ok(effect),
                    // A release that counts comes after its save. Alone it is that of an earlier copy of both, whose answer
                    // was lost.
                    (false, Ok(settled)) if settled.contains(&Settled::Yes) => Ok(effect),
                    (false, Ok(_)) => Err(Failure::Fenced),
                    (false, Err(failure)) => Err(failure),
                }
            }
            // Dropped midway, it may have left work behind: its entity is left to the lease.
            Err(Failure::Cancelled(reason)) => Err(Failure::Cancelled(reason)),
            Err(failure) => {
                // If it is not confirmed, the lease ends it.
                let _ = trips.settle(&[release]).await;
                Err(failure)
            }
        }
    }
}

fn release(lease: &Lease, window: Duration) -> Settlement {
    Settlement::new(lease, release_of(window))
}

fn release_of(window: Duration) -> Settle {
    Settle::Release { attempt: Attempt::Refunded, window, not_before: Duration::ZERO }
}
