//! The claim protocol as a model: workers that crash, stall and lose replies, explored to the end.
//!
//! The store of the model runs [`ackonce::protocol`], the two functions that the in-memory store and SQLite run and that
//! the conformance suite holds Redis and PostgreSQL to. Around it stands everything that may go wrong: a worker dies at
//! any step, its lease ends while it works, a request is applied and its reply lost, a request arrives long after its
//! sender has gone on, the broker delivers a message again.
//!
//! Time has no end and no number here. A [`State`] keeps the ticks until each lease, back-off and window ends, fences by
//! their order, and tokens by their first place, so that equal situations are one state and the exploration ends by
//! itself. A pause is a worker that takes no step while the clock does.
//!
//! Two questions are asked of every reachable state: is a promise broken here ([`Broken`]), and can every message still
//! be settled from here ([`stuck`])? The second needs no assumption of fairness: a state without a way to the end is a
//! message that waits for ever.

mod canonical;
mod liveness;
mod model;
mod state;
mod store;
mod worker;

pub use liveness::{Stuck, stuck};
pub use model::{Action, Bug, Protocol, Way};
pub use state::{Broken, Ended, Held, Message, Phase, Request, State};
pub use worker::{How, Lease, Worker};
