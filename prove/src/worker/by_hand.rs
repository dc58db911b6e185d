//! The two loops that most teams write, as negative controls: the harness must find them out.

use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_sqlite::rusqlite::Connection;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_testkit::lines;

use crate::logs::micros_now;
use crate::messages::{Trouble, number};
use crate::plan::{Mode, Plan};

/// Between the steps of an effect.
const PAUSE: Duration = Duration::from_millis(2);

/// Reads the feed's lines of this worker one by one: "have I seen this ID?", then the effect, or the other way round.
pub(super) async fn work(plan: &Plan, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let effects = Ledger::open(plan.effects())?;
    let share = plan.share();
    let acks = lines::Writer::open(&share.acks)?;
    let acked = share.acked()?;
    let db = Connection::open(plan.seen())?;
    db.busy_timeout(Duration::from_secs(10))?;
    let mut feed = lines::Reader::new(&share.feed);
    let mut line = 0;
    while !shutdown.is_cancelled() {
        for id in feed.catch_up()? {
            if share.has(line) && !acked.contains(&line) {
                process(&db, plan.mode, &id, &effects).await?;
                acks.append(line.to_string())?;
            }
            line += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn process(db: &Connection, mode: Mode, id: &str, effects: &Ledger) -> anyhow::Result<()> {
    let mark = || db.execute("INSERT INTO seen (id) VALUES (?1) ON CONFLICT DO NOTHING", [id]);
    let is_new = match mode {
        Mode::RecordThenRun => mark()? == 1,
        _ => !db.prepare_cached("SELECT 1 FROM seen WHERE id = ?1")?.exists([id])?,
    };
    if !is_new || number(id).map(Trouble::of) == Some(Trouble::Refused) {
        return Ok(());
    }
    tokio::time::sleep(PAUSE).await;
    let at = micros_now();
    let (id, key, pid) = (id.to_owned(), id.to_owned(), std::process::id());
    effects.append(&LedgerEntry { id, key, attempt: 1, fence: at, pid, at })?;
    tokio::time::sleep(PAUSE).await;
    if mode == Mode::RunThenRecord {
        mark()?;
    }
    Ok(())
}
