//! Random histories: two clients of one store call it in turn and at the same time, and every answer is held against
//! [`ackonce::protocol`].
//!
//! The [conformance suite](mod@crate::conformance) checks each duty by itself; this suite looks for the sequence that
//! nobody thought of. Steps are batches of claims and settlements of every kind (so renewals and the progress of a
//! handler's steps, too), changes by hand of a key or of a listed record, lists, sweeps, ends of a client without a
//! word, and, where the fixture can move the store's clock, time. After each step every key is looked at. Of two calls
//! at the same time some order has to explain both.
//!
//! A history that fails is shrunk by proptest, and its seed is kept in a file, whose histories run first from then on.
#![allow(clippy::panic, reason = "a store that breaks the protocol panics, as every test does")]

mod call;
mod model;
mod party;
mod step;
mod world;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

pub use party::{Party, serve};
use world::World;

/// The store under test.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// One of the two clients of the same records: 0 or 1. It is opened again in the place of one that was dropped.
    async fn open(&self, which: usize) -> Party;

    /// Moves the store's clock on, and returns its microseconds since the Unix epoch; `None` if the test cannot move
    /// it. Leases and windows have then ended at once, or last for longer than the test.
    async fn pass(&self, time: Duration) -> Option<u64>;

    /// The number of histories (default: 16); the variable `PROPTEST_CASES` goes over it.
    fn histories(&self) -> u32 {
        16
    }

    /// The most attempts at a shorter history that fails, too (default: 1000).
    fn shrinking(&self) -> u32 {
        1000
    }
}

/// Makes a module with the test `two_clients_are_answered_as_the_protocol_says`. The second argument is an expression
/// for a [`Fixture`], evaluated on the test's tokio runtime; it may `.await`, and `return` where there is no server.
/// Seeds of failed histories are kept in `tests/NAME.proptest-regressions`.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ackonce::MemoryStore;
/// use ackonce_testkit::histories::{Fixture, Party};
///
/// struct Memory(MemoryStore);
///
/// #[async_trait::async_trait]
/// impl Fixture for Memory {
///     async fn open(&self, _: usize) -> Party {
///         Party::here(Arc::new(self.0.clone()))
///     }
///
///     async fn pass(&self, _: Duration) -> Option<u64> {
///         None
///     }
/// }
///
/// ackonce_testkit::histories!(memory_histories, Memory(MemoryStore::new()));
/// ```
#[macro_export]
macro_rules! histories {
    ($name:ident, $fixture:expr $(,)?) => {
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn two_clients_are_answered_as_the_protocol_says() {
                let file = concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/",
                    stringify!($name),
                    ".proptest-regressions"
                );
                $crate::conformance::run_test(async {
                    let fixture = $fixture;
                    $crate::histories::check(&fixture, Some(file.as_ref())).await;
                });
            }
        }
    };
}

/// Runs the suite. Seeds of failed histories are kept in `regressions`, whose histories run first.
///
/// # Panics
/// An answer is not the protocol's; the message has the shortest history found. Or the runtime is not multi-threaded.
pub async fn check(fixture: &dyn Fixture, regressions: Option<&'static Path>) {
    if let Err(failure) = failure(fixture, regressions).await {
        panic!("{failure}");
    }
}

/// As [`check`]: the shortest history found whose answers are not the protocol's.
///
/// # Errors
/// That history, and its first wrong answer.
///
/// # Panics
/// The runtime is not multi-threaded.
pub async fn failure(fixture: &dyn Fixture, regressions: Option<&'static Path>) -> Result<(), String> {
    let kept = regressions.and_then(Path::to_str).map(
        |path| -> Box<dyn proptest::test_runner::FailurePersistence> {
            Box::new(FileFailurePersistence::Direct(path))
        },
    );
    let mut config = Config { failure_persistence: kept, ..Config::default() };
    config.max_shrink_iters = fixture.shrinking();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = fixture.histories();
    }
    let parties = [fixture.open(0).await, fixture.open(1).await];
    // Each history goes on with the clients of the one before.
    let parties = std::cell::RefCell::new(parties);
    let runtime = tokio::runtime::Handle::current();
    let run = |steps| {
        let mut parties = parties.borrow_mut();
        let ran = runtime.block_on(async {
            let mut world = World::new(fixture, &mut parties).await;
            for step in steps {
                world.run(step).await?;
            }
            Ok::<_, String>(())
        });
        ran.map_err(TestCaseError::fail)
    };
    let is_moved = fixture.pass(Duration::ZERO).await.is_some();
    tokio::task::block_in_place(|| {
        TestRunner::new(config).run(&step::history(is_moved), run).map_err(|e| e.to_string())
    })
}
