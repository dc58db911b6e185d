//! The table `ledger` on a real PostgreSQL.
#![allow(clippy::unwrap_used)]

use ackonce_cli::ledger::{Table, postgres};
use ackonce_cli::stores::StoreUrl;
use ackonce_testkit::ledger::LedgerEntry;

/// A store with a schema of this run's own; or loudly none.
fn store() -> Option<StoreUrl> {
    let url = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES")?;
    let schema = format!("ledger_{}", std::process::id());
    let options = format!("tables=create&schema={schema}&options=-c%20search_path%3D{schema}");
    Some(format!("{url}?{options}").parse().unwrap())
}

#[tokio::test]
async fn processes_that_make_the_table_at_once_all_find_it_and_rows_come_back_as_they_went_in() {
    let Some(url) = store() else { return };
    let opened = url.open().await.unwrap();
    let table = Table::of(&url, &opened).unwrap();
    let makers: Vec<_> = (0..8)
        .map(|_| {
            let table = table.clone();
            tokio::spawn(async move { table.create().await })
        })
        .collect();
    for maker in makers {
        maker.await.unwrap().unwrap();
    }
    assert_eq!(table.last().await.unwrap(), 0);
    let entry = |id: &str| LedgerEntry {
        id: id.to_owned(),
        key: "k".into(),
        attempt: 2,
        fence: 1_700_000_000_000_000,
        pid: u32::MAX,
        at: 1_700_000_000_000_001,
    };
    let pool = opened.postgres().unwrap().pool(1).unwrap();
    let insert = async |id: &str| {
        let mut client = pool.get().await.unwrap();
        let tx = client.transaction().await.unwrap();
        postgres::insert(&tx, &entry(id)).await.unwrap();
        tx.commit().await.unwrap();
    };
    insert("a").await;
    let before = table.last().await.unwrap();
    insert("b\0c").await;
    // PostgreSQL has no NUL in a text.
    assert_eq!(table.read(0).await.unwrap(), [entry("a"), entry("b\u{fffd}c")]);
    assert_eq!(table.read(before).await.unwrap(), [entry("b\u{fffd}c")]);
}

#[tokio::test]
async fn a_store_without_transactions_has_no_table() {
    let url: StoreUrl = "memory:".parse().unwrap();
    assert!(Table::of(&url, &url.open().await.unwrap()).is_none() && !url.has_inbox());
}
