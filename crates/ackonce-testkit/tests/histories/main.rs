//! The test of the suite of histories: stores with one planted bug each, which it finds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod store;

use std::time::Duration;

use ackonce_testkit::histories::{Fixture, Party, failure};
use async_trait::async_trait;

use store::{Bug, Sabotaged};

struct Planted(Sabotaged);

#[async_trait]
impl Fixture for Planted {
    async fn open(&self, _: usize) -> Party {
        Party::here(self.0.client())
    }

    async fn pass(&self, _: Duration) -> Option<u64> {
        None
    }

    /// The honest store's own run is tests/memory_histories.rs.
    fn histories(&self) -> u32 {
        if self.0.bug == Bug::None { 30 } else { 500 }
    }

    fn shrinking(&self) -> u32 {
        20
    }
}

async fn found(bug: Bug) -> Option<String> {
    failure(&Planted(Sabotaged::new(bug)), None).await.err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_honest_store_passes() {
    assert_eq!(found(Bug::None).await, None);
}

macro_rules! found {
    ($($bug:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        #[allow(non_snake_case, reason = "a test is named after its bug")]
        async fn $bug() {
            let failure = found(Bug::$bug).await.unwrap_or_else(|| panic!("{} was not found", stringify!($bug)));
            assert!(failure.contains("key") || failure.contains("listed"), "{failure}");
        }
    )*};
}

found! {
    BusyIsDone, LostIsConfirmed, RefundCounts, ProgressIsDropped, StaleDone, ForgetReopensNothing, RedriveMissesChange,
    TwoAtOnce, ListedTwice, NotListed,
}
