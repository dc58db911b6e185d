//! The things that a handler may do, in any driver.

use std::fmt;
use std::sync::Arc;

use ackonce::Failure;
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_testkit::crash::point;
use async_trait::async_trait;
use futures_util::future::BoxFuture;

/// One thing that a handler does.
#[derive(Clone)]
pub enum Act {
    /// Statements, whose error is the handler's.
    Run(String),
    /// Statements, whose error is passed over.
    Swallow(String),
    /// Statements in a transaction of the library's own kind, within the handler's.
    Nested(String, Ends),
    /// Messages for an outbox: one, or several by one call.
    Publish(PostgresOutbox, Vec<Outgoing>),
    /// Another try may succeed.
    Fail,
    /// No try will succeed.
    Refuse,
    /// Panics.
    Panic,
    /// A named moment, for crashes.
    Point(&'static str),
    /// Something else, awaited.
    Await(Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>),
}

/// The end of a nested transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named for what they are")]
pub enum Ends {
    Committed,
    RolledBack,
    /// By being dropped, which rolls it back with the next statement; where there is no such thing, as above.
    Dropped,
    /// Neither.
    LeftOpen,
}

impl Act {
    /// Awaits something.
    pub fn wait<F: Future<Output = ()> + Send + 'static>(f: impl Fn() -> F + Send + Sync + 'static) -> Self {
        Self::Await(Arc::new(move || Box::pin(f())))
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(text) | Self::Swallow(text) | Self::Nested(text, _) => f.write_str(text),
            _ => f.write_str("an act without a statement"),
        }
    }
}

/// A driver's transaction, as acts need it.
#[async_trait]
pub(super) trait Hand: Send {
    async fn run(&mut self, text: &str) -> Result<(), Failure>;
    async fn nested(&mut self, text: &str, ends: Ends) -> Result<(), Failure>;
    async fn publish(&mut self, outbox: &PostgresOutbox, all: &[Outgoing]) -> ackonce::Result<Vec<String>>;
}

pub(super) async fn perform(mut hand: impl Hand, acts: Vec<Act>) -> Result<(), Failure> {
    for act in acts {
        match act {
            Act::Run(text) => hand.run(&text).await?,
            Act::Swallow(text) => drop(hand.run(&text).await),
            Act::Nested(text, ends) => hand.nested(&text, ends).await?,
            Act::Publish(outbox, all) => drop(hand.publish(&outbox, &all).await?),
            Act::Fail => return Err("again".into()),
            Act::Refuse => return Err(Failure::permanent("no")),
            Act::Panic => panic!("out of tune"),
            Act::Point(name) => point(name),
            Act::Await(f) => f().await,
        }
    }
    Ok(())
}
