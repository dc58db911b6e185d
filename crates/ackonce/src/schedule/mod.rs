//! Scheduled jobs: a run of job J for time slot T happens once, on however many hosts, across restarts.
//!
//! Time is cut into slots of a fixed length. A slot is a message: the job's scope and the slot's start are its
//! key, and the claim protocol does the rest. Every host that runs the job asks for every slot; one of them
//! gets it, and if that one dies, another takes it over when the lease ends.
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
//! # What clocks can do
//!
//! A host's clock says when to ask for a slot, so a clock that is wrong makes a job early or late. It does not make
//! it run twice: the record of a slot is found whatever the clock of the host that asks. Three things a host's clock
//! could break are left to the store's, which every claim tells ([`Lease::fence`](crate::Lease::fence)):
//!
//! - A slot that begins more than a second later waits for its time.
//! - A slot so old that its record may be forgotten is refused, not run.
//! - The job's first slot, before which nothing counts as missed, is written down once, by the store's clock.
//!
//! # What a crash does
//!
//! As for any message of the handler's [`Class`](crate::Class): a host that dies in the middle of a run leaves a claim;
//! when its lease ends another host runs the slot, or the same one after its restart, whatever the policy for missed
//! slots: that slot was begun, not missed.

mod birth;
mod gate;
mod run;
mod slots;

pub use run::ScheduledJob;
pub use slots::{Every, Missed, Slot};
