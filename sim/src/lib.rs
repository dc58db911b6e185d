//! Consumers on a simulated broker, a simulated store and a clock of their own: each run follows from one seed.
//!
//! A worker process is a tokio runtime with a paused clock. Killing it drops the runtime, with all tasks at the await where
//! they stand; stopping it leaves the runtime alone for a while, and its clock jumps when it goes on. The store is
//! [`ackonce::protocol`], the functions that the in-memory store runs, behind lost, late and repeated calls. The runner, its
//! dispatcher, back-offs, leases and heartbeat are the real ones. An adapter brings its broker ([`Broker`]) and its own books:
//! the Kafka consumer's partitions and offsets, the RabbitMQ consumer's delivery tags.
//!
//! Nothing reads the wall clock, a random number or the order of a hash map in a way that a run could notice: the test runs
//! seeds twice and compares the hashes of all that happened.

mod explore;
mod handler;
mod ledger;
mod letters;
mod plan;
mod process;
mod scheduler;
mod store;
mod trace;
mod world;

pub use explore::{explore, finds, repeats};
pub use handler::{Numbered, PlannedHandler};
pub use plan::{Bug, LEASE, Plan};
pub use process::Process;
pub use scheduler::{Broker, Ran, simulate};
pub use world::World;
