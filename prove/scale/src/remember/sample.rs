//! Claims of IDs that the store has to know.

use std::path::Path;

use ackonce::Deduplicator as _;
use ackonce::store::Claimed;
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::seed::Dice;
use anyhow::Result;

use super::fill::claim;

/// IDs of a trip.
const TRIP: u64 = 1000;

/// A file in which the IDs `0..done` are settled.
pub(super) struct Known<'a> {
    pub(super) file: &'a Path,
    pub(super) done: u64,
}

impl Known<'_> {
    /// Opens it anew, and claims so many of its IDs, of any age. The number that was not answered as duplicates.
    pub(super) async fn forgotten(&self, count: u64, dice: &mut Dice) -> Result<u64> {
        let store = SqliteStore::open(self.file)?;
        let (mut asked, mut forgotten) = (0, 0);
        while asked < count {
            let trip = TRIP.min(count - asked);
            let claims = (0..trip).map(|_| claim(dice.below(self.done))).collect::<Result<Vec<_>>>()?;
            let answers = store.claim(&claims).await?;
            let new = answers.iter().filter(|answer| !matches!(answer, Claimed::Done(_))).count();
            forgotten += u64::try_from(new)?;
            asked += trip;
        }
        Ok(forgotten)
    }
}
