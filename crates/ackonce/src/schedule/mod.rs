//! Scheduled jobs: a run of job J for time slot T happens once, on however many hosts, across restarts.
//!
//! Time is cut into slots, by a fixed length ([`Every`]) or by a cron expression in a time zone (`Schedule::cron`, feature
//! `cron`). A slot is a message: the job's scope and the slot's start in UTC are its key, and the claim protocol does the
//! rest. Every host that runs the job asks for every slot; one of them gets it, and if that one dies, another takes it over
//! when the lease ends.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use ackonce::schedule::{Every, Missed, ScheduledJob, Slot};
//! use ackonce::{Context, Failure, MemoryStore, Scope};
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let hourly = Every::new(Duration::from_secs(3600))?;
//! let job = ScheduledJob::new(&Scope::new("billing/invoices")?, hourly, Arc::new(MemoryStore::new()))
//!     .with_missed(Missed::All);
//! let shutdown = job.shutdown();
//! let running = tokio::spawn(job.run(|cx: Context, slot: Slot| async move {
//!     // The same for every attempt at this slot, on every host.
//!     println!("invoices since {:?}, under {}", slot.start, cx.idempotency_key("invoices"));
//!     Ok::<(), Failure>(())
//! }));
//! shutdown.cancel();
//! running.await??;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Clocks
//!
//! The store's clock decides: which slot has begun, which was missed, which is the first. A host's clock only says how
//! long to sleep, so hosts whose clocks are wrong, are set or stand still (a suspended machine) start the same slots at the
//! same time. The store is asked for its time at each slot, once a minute, and within seconds once the host's clocks
//! disagree on how much time has passed.
//!
//! A store's clock that is set can do this:
//! - Forward: slots in between count as missed, as [`Missed`] says. Back: a slot that has run does not run again. Both are
//!   warned of, with the two times.
//! - A schedule whose first start was under a clock that was ahead begins at once when the clock is right, with a
//!   warning: a first slot in the future is not believed.
//! - A slot so old that its record may be forgotten is not run.
//!
//! # Crashes
//!
//! As for any message of the handler's [`Class`](crate::Class): a host that dies in the middle of a run leaves a claim;
//! when its lease ends another host runs the slot, or the same one after its restart, under every policy for missed
//! slots: that slot was begun, not missed. A host that dies while it skips missed slots leaves them to the next one.
//!
//! # A schedule that changes
//!
//! Another length, anchor, expression or zone in the same scope begins as a new job does: with its next slot, and nothing
//! before that counts as missed; a warning says so. While hosts of both kinds run, each starts the slots of its own
//! schedule; a moment that is a slot of both runs once. Two jobs that are to run side by side for good need scopes of their
//! own: in one scope, each start of either is a change.

mod clock;
#[cfg(feature = "cron")]
mod cron;
mod every;
#[cfg(feature = "cron")]
mod expression;
mod first_slot;
mod handler;
mod job;
mod run;
mod skip;
mod slot;
mod slots;

pub use every::Every;
pub use job::ScheduledJob;
pub use slot::{Missed, Slot};
pub use slots::Schedule;

fn invalid(error: crate::KeyError) -> crate::Error {
    crate::Error::new(crate::ErrorKind::Invalid, error.to_string())
}
