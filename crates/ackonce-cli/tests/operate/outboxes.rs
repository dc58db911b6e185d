//! Parked messages of an outbox: listed, put back, discarded.

use ackonce::{CancellationToken, Failure};
use ackonce_outbox::{Outbox, OutboxMessage, OutboxPublisher, Outgoing, PostgresOutbox, SqliteOutbox};

use crate::program::{json, output, refused};
use crate::seeded::Seeded;

/// Refuses each message whose payload is `no`.
#[derive(Debug)]
struct Picky;

#[async_trait::async_trait]
impl OutboxPublisher for Picky {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        match &message.payload[..] {
            b"no" => Err(Failure::permanent(format!("no topic {}", message.to))),
            _ => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    let Some(store) = Seeded::sqlite().await else { return };
    let sqlite = store.store.sqlite().unwrap().clone();
    refused(&["outbox", "list", "--store", &store.url], 3, &["--store", "there is none in the file"]);
    let outbox = SqliteOutbox::open(&sqlite).await.unwrap();
    let publishing = outbox.clone();
    let publish = move |tx: &ackonce_sqlite::rusqlite::Transaction<'_>| {
        messages().iter().for_each(|message| drop(publishing.publish(tx, message).unwrap()));
        Ok(())
    };
    sqlite.write(publish).await.unwrap();
    look_and_change(&store.url, &outbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    let Some(store) = Seeded::postgres("outbox").await else { return };
    let postgres = store.store.postgres().unwrap().clone();
    refused(&["outbox", "list", "--store", &store.url], 3, &["--store", "there is none in schema"]);
    let outbox = PostgresOutbox::open(&postgres).await.unwrap();
    let mut client = postgres.pool(1).unwrap().get().await.unwrap();
    let tx = client.transaction().await.unwrap();
    outbox.publish_all(&tx, &messages()).await.unwrap();
    tx.commit().await.unwrap();
    look_and_change(&store.url, &outbox).await;
}

/// Three keys with a message that is refused and two behind it.
fn messages() -> Vec<Outgoing> {
    let of = |key: &'static str| {
        let all = ["no", "yes", "yes"].into_iter();
        all.map(move |payload| Outgoing::new(format!("orders.{key}"), payload).with_key(key))
    };
    ["a", "b", "c"].into_iter().flat_map(of).collect()
}

async fn park(outbox: &Outbox, number: u64) {
    let shutdown = CancellationToken::new();
    let relay = outbox.with_shutdown(shutdown.clone());
    let relay = tokio::spawn(async move { relay.run(Picky).await });
    loop {
        let lag = outbox.lag().await.unwrap();
        if (lag.waiting, lag.parked) == (0, number) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    relay.await.unwrap().unwrap();
}

async fn look_and_change(url: &str, outbox: &Outbox) {
    let status = || json(&["outbox", "status", "--store", url])[0].clone();
    assert_eq!((&status()["waiting"], &status()["parked"]), (&9.into(), &0.into()));
    park(outbox, 9).await;
    assert_eq!((&status()["waiting"], &status()["parked"]), (&0.into(), &9.into()));
    let list = |more: &[&str]| json(&[&["outbox", "list", "--store", url], more].concat());
    let all = list(&[]);
    assert_eq!(all.len(), 3);
    assert_eq!((&all[0]["key"], &all[0]["behind"]), (&"a".into(), &2.into()));
    assert!(all[0]["reason"].as_str().unwrap().contains("no topic orders.a"));
    assert_eq!(list(&["--reason-contains", "orders.b"]).len(), 1);
    assert_eq!(list(&["--reason", "orders.b"]).len(), 1, "it stands for --reason-contains");
    assert_eq!((list(&["--older-than", "1h"]).len(), list(&["--limit", "2"]).len()), (0, 2));
    let text = output(&["outbox", "list", "--store", url]);
    assert!(text.starts_with("ROW") && text.lines().count() == 4, "{text}");

    let change = |verb: &'static str, more: &[&'static str]| {
        let common = ["outbox", verb, "--store", url, "--reason", "ticket 7", "--actor", "ada"];
        [&common[..], more].concat()
    };
    let row: &'static str = all[0]["row"].to_string().leak();
    refused(&change("redrive", &[]), 2, &["--row", "--all"]);
    refused(&change("redrive", &["--row", row]), 2, &["1 message", "add --yes"]);
    refused(&["outbox", "redrive", "--store", url, "--all", "--yes"], 2, &["--reason"]);
    let dry = output(&change("redrive", &["--all", "--dry-run"]));
    assert_eq!(dry, "would be changed: 3 messages\n");
    // A limit that is for lists alone would discard all of them.
    let dry = output(&change("discard", &["--all", "--limit", "2", "--dry-run"]));
    assert_eq!(dry, "would be changed: 2 messages\n");
    refused(&change("discard", &["--all", "--limit", "0", "--yes"]), 2, &["--limit 0", "leave it out"]);
    assert_eq!(output(&change("redrive", &["--row", row, "--yes"])), "redriven: 1 message\n");
    assert_eq!((&status()["waiting"], &status()["parked"]), (&3.into(), &6.into()));
    // It is refused again.
    park(outbox, 9).await;
    let discarded = json(&change("discard", &["--all", "--reason-contains", "orders.b", "--yes"]));
    assert_eq!(discarded[0]["discarded"], 1);
    assert_eq!((&status()["waiting"], &status()["parked"]), (&2.into(), &6.into()));
}
