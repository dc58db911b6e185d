//! Completes messages through a SQLite store and tells each one's ID, once its settlement is confirmed, on its
//! standard output: `e2e-power-worker FILE full|checkpoints|normal PREFIX`.

use std::io::Write;
use std::time::Duration;

use ackonce::Scope;
use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Settle, Settled, Settlement, Token};
use ackonce_sqlite::{SqliteConfig, SqliteStore, Synchronous};
use anyhow::{Context as _, bail};

const HOUR: Duration = Duration::from_secs(3600);
/// Messages in flight at once: some are always between their completion and its flush.
const AT_ONCE: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // The test's mounts go when nobody is left in their namespace.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let mut args = std::env::args().skip(1);
    let (file, level) = (args.next().context("no file")?, args.next().context("no level")?);
    let prefix = args.next().context("no prefix")?;
    let store = match level.as_str() {
        "full" => SqliteStore::open(file)?,
        "checkpoints" => SqliteConfig::new(file).with_checkpoint_pages(200).with_generation(500).open()?,
        "normal" => SqliteConfig::new(file).with_synchronous(Synchronous::Normal).open()?,
        other => bail!("no such level: {other}"),
    };
    let tasks: Vec<_> =
        (0..AT_ONCE).map(|n| tokio::spawn(work(store.clone(), format!("{prefix}-{n}")))).collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// One message after another, until the store can no more.
async fn work(store: SqliteStore, prefix: String) -> anyhow::Result<()> {
    let scope = Scope::new("power")?;
    for n in 0_u64.. {
        let id = format!("{prefix}-{n}");
        let key = scope.key(id.clone())?;
        let request =
            ClaimRequest { key, token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None };
        let Claimed::Acquired(lease) = store.claim_one(request).await? else { bail!("{id} is known") };
        let done = Settlement::new(&lease, Settle::Complete { window: HOUR, outcome: None });
        if store.settle_one(done).await? != Settled::Yes {
            bail!("{id} is somebody else's");
        }
        // The ack, in one write.
        std::io::stdout().lock().write_all(format!("{id}\n").as_bytes())?;
    }
    Ok(())
}
