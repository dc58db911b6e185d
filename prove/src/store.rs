//! The store of a run: its URL for the workers, its proxy, its end.

use std::path::{Path, PathBuf};

use ackonce::store::{Filter, Inspect, Query, State};
use ackonce_cli::stores::StoreUrl;
use ackonce_testkit::ledger::LedgerEntry;
use ackonce_testkit::proxy::Proxy;
use ackonce_tests::books::Books;
use anyhow::{Context as _, Result};

use crate::args::RunArgs;
use crate::nemesis::{Disk, FaultKind, StoreFaults, StoreKind};
use crate::plan::Mode;

/// The store of a run.
pub(crate) struct Prepared {
    /// For the workers.
    pub(crate) url: String,
    /// The same without the proxy.
    direct: String,
    pub(crate) schema: String,
    books: Option<Books>,
}

/// Makes an empty store, and says how to trouble it. `through_proxy` puts a proxy before a server.
pub(crate) async fn prepare(
    args: &RunArgs,
    dir: &Path,
    name: &str,
    through_proxy: bool,
) -> Result<(Prepared, StoreFaults)> {
    let kind = args.store_kind();
    let disk = args.fills_a_disk().then(|| Disk::mount(dir)).transpose()?;
    let file: PathBuf = disk.as_ref().map_or_else(|| dir.join("dedup.db"), |disk| disk.file("dedup.db"));
    let server = match (kind, &*args.store) {
        (StoreKind::Sqlite, _) => String::new(),
        (StoreKind::Redis, "redis") => address("ACKONCE_TEST_REDIS", "redis")?,
        (StoreKind::Postgres, "postgres") => address("ACKONCE_TEST_POSTGRES", "postgres")?,
        (_, url) => url.to_owned(),
    };
    let (proxy, reached) = match through_proxy && kind != StoreKind::Sqlite {
        true => {
            let (proxy, url) = Proxy::in_front_of(&server).await?;
            (Some(proxy), url)
        }
        false => (None, server.clone()),
    };
    // It would be refused: the run measures the loss.
    let evicts = kind == StoreKind::Redis && args.kinds().contains(&FaultKind::StoreEviction);
    let downgrade = if evicts { "&unsafe=downgrade" } else { "" };
    // Workers give a silent server up soon; the look at the end waits for one that is busy.
    let url = |server: &str, wait_ms: u32| match kind {
        StoreKind::Sqlite => format!("sqlite:{}", file.display()),
        StoreKind::Redis => {
            format!(
                "{server}?prefix={name}&connect_timeout_ms={wait_ms}&response_timeout_ms={wait_ms}{downgrade}"
            )
        }
        StoreKind::Postgres => {
            format!("{server}?schema={name}&tables=create&request_timeout_ms={}", 2 * wait_ms)
        }
    };
    let prepared = Prepared {
        url: url(&reached, 1000),
        direct: url(&server, 60_000),
        schema: name.to_owned(),
        books: books(args, kind, &file, &server, name)?,
    };
    if let Some(books) = &prepared.books {
        books.create().await;
    }
    Ok((prepared, StoreFaults { kind, file, disk, url: server, proxy }))
}

fn address(variable: &str, server: &str) -> Result<String> {
    std::env::var(variable).with_context(|| {
        format!("--store {server}: {variable} is not set; run it by scripts/servers run {server} -- …, or give a URL")
    })
}

fn books(args: &RunArgs, kind: StoreKind, file: &Path, server: &str, schema: &str) -> Result<Option<Books>> {
    match (args.mode, kind) {
        (Mode::Inbox, StoreKind::Sqlite) => Ok(Some(Books::Sqlite(file.to_owned()))),
        (Mode::Inbox, StoreKind::Postgres) => Ok(Some(Books::Postgres {
            url: server.to_owned(),
            schema: schema.to_owned(),
            driver: args.driver,
        })),
        (Mode::Inbox, StoreKind::Redis) => anyhow::bail!("--class inbox needs --store sqlite or postgres"),
        _ => Ok(None),
    }
}

impl Prepared {
    /// The effects and the balance of class inbox; `None` for all others, whose effects are in a file.
    pub(crate) async fn books(&self) -> Option<(Vec<LedgerEntry>, u64)> {
        Some(self.books.as_ref()?.read().await)
    }

    /// The number of records by state.
    pub(crate) async fn records(&self) -> Result<[u64; 4]> {
        let url: StoreUrl = self.direct.parse()?;
        let store = url.open().await?.inspect();
        let mut records = [0; 4];
        for (count, state) in
            records.iter_mut().zip([State::Claimed, State::Released, State::Done, State::Buried])
        {
            *count = count_of(&*store, state).await?;
        }
        Ok(records)
    }
}

async fn count_of(store: &dyn Inspect, state: State) -> Result<u64> {
    let filter = Filter { state: Some(state), ..Filter::default() };
    let mut query = Query { filter, limit: 1000, after: None };
    let mut count = 0;
    loop {
        let page = store.list(&query).await?;
        count += page.entries.len() as u64;
        match page.next {
            Some(after) => query.after = Some(after),
            None => return Ok(count),
        }
    }
}
