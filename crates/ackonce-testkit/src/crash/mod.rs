//! Kills and pauses of real processes, at random moments and at named points.
//!
//! A worker marks the moments that matter with [`point`](point()); a [`Fleet`] keeps several of them running through
//! [`Faults`] and returns the [`History`], with which [`audit`](crate::audit::audit) explains repeated
//! effects. Unix only.

mod faults;
mod fleet;
mod history;
mod point;
mod run;
mod supervisor;
mod worker;

pub use faults::Faults;
pub use fleet::{Fleet, FleetError, Progress};
pub use history::{EventKind, FleetEvent, History};
pub use point::{CRASH_AT, PAUSE_AT, POINT_LOG, point};
