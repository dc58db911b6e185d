//! Messages of the outbox in each driver's transactions.

use ackonce::{ErrorKind, Failure, Handler};
use ackonce_outbox::{Outgoing, OutgoingRow, PostgresOutbox};
use ackonce_tests::drivers::Act;

use crate::place::Place;

/// Messages whose columns are empty, absent, long, or bytes that are no text.
fn messages(name: &str) -> Vec<Outgoing> {
    let all: Vec<u8> = (0..=255).collect();
    vec![
        Outgoing::new("orders", "").with_id(format!("{name} ä,-{{}}'\"\\x00")).with_key(""),
        Outgoing::new("bills/ö,'\"\\", all.clone()).with_id(format!("{name} 1")).with_key(all.clone()),
        Outgoing::new("-", vec![0xff; 70_000]).with_id(format!("{name} 2")),
        Outgoing::new("orders", "x").with_id(format!("{name} 3")).with_key("-").with_header("h", all),
    ]
}

/// The columns of a message; its lane only if it has a key, since it is random without one.
fn columns(row: OutgoingRow) -> OutgoingRow {
    let mut row = row;
    row.lane *= i64::from(row.key.is_some());
    row
}

/// The rows of the outbox, in the order in which they go out.
async fn published(place: &Place) -> Vec<OutgoingRow> {
    let text =
        place.sql("SELECT lane, message_id, destination, key, headers, payload FROM {s}.outbox ORDER BY id");
    let rows = place.client().await.query(&text, &[]).await.unwrap();
    let row = |row: &ackonce_postgres::tokio_postgres::Row| {
        let mut columns_of = Outgoing::new("x", "").row().unwrap();
        columns_of.lane = row.get(0);
        columns_of.message_id = row.get(1);
        columns_of.destination = row.get(2);
        columns_of.key = row.get(3);
        columns_of.headers = row.get(4);
        columns_of.payload = row.get(5);
        columns(columns_of)
    };
    rows.iter().map(row).collect()
}

fn rows(all: &[Outgoing]) -> Vec<OutgoingRow> {
    all.iter().map(|one| columns(one.row().unwrap())).collect()
}

/// Each by a call of its own, then all by one call.
fn acts(outbox: &PostgresOutbox, all: &[Outgoing]) -> Vec<Act> {
    let again = all.iter().map(|one| one.clone().with_id(format!("{} again", one.id.as_deref().unwrap())));
    let alone = all.iter().map(|one| Act::Publish(outbox.clone(), vec![one.clone()]));
    alone
        .chain([Act::Publish(outbox.clone(), again.collect()), Act::Publish(outbox.clone(), vec![])])
        .collect()
}

fn expected(name: &str) -> Vec<OutgoingRow> {
    let (alone, mut again) = (rows(&messages(name)), rows(&messages(name)));
    again.iter_mut().for_each(|row| row.message_id += " again");
    [alone, again].concat()
}

pub(crate) async fn an_inbox_publishes_with_its_commit(place: Place) {
    let (inbox, outbox) = (place.inbox().await, PostgresOutbox::open(&place.store).await.unwrap());
    let inbox = outbox.waking(inbox);
    let mut items = Vec::new();
    for (id, end) in [("a", None), ("b", Some(Act::Fail)), ("c", Some(Act::Panic)), ("d", None)] {
        let acts = [place.insert(id)].into_iter().chain(acts(&outbox, &messages(id))).chain(end).collect();
        items.push(place.item(id, acts).await);
    }
    let answers = inbox.handle(items).await;
    assert!(matches!(&answers[..], [Ok(_), Err(_), Err(_), Ok(_)]), "{answers:?}");
    let alone = inbox.handle(vec![place.item("e", acts(&outbox, &messages("e"))).await]).await;
    assert!(alone[0].is_ok(), "{alone:?}");
    assert_eq!(place.effects().await, ["a", "d"]);
    assert_eq!(published(&place).await, [expected("a"), expected("d"), expected("e")].concat());
}

pub(crate) async fn a_producer_publishes_with_its_commit(place: Place) {
    let outbox = PostgresOutbox::open(&place.store).await.unwrap();
    for (id, commit) in [("a", true), ("b", false), ("c", true)] {
        let acts = [place.insert(id)].into_iter().chain(acts(&outbox, &messages(id))).collect();
        place.driver.produce(&place.url, acts, commit).await.unwrap();
    }
    assert_eq!(place.effects().await, ["a", "c"]);
    assert_eq!(published(&place).await, [expected("a"), expected("c")].concat());
}

pub(crate) async fn a_message_that_cannot_be_published_undoes_its_transaction(place: Place) {
    let outbox = PostgresOutbox::open(&place.store).await.unwrap();
    let publish = |one: Outgoing| vec![place.insert("x"), Act::Publish(outbox.clone(), vec![one])];
    let refused = place.driver.produce(&place.url, publish(Outgoing::default()), true).await;
    assert_eq!(kind(refused), ErrorKind::Invalid);
    // Nothing says which half takes new rows.
    place.client().await.batch_execute(&place.sql("DELETE FROM {s}.outbox_turn")).await.unwrap();
    let refused = place.driver.produce(&place.url, publish(Outgoing::new("orders", "")), true).await;
    assert_eq!(kind(refused), ErrorKind::Config);
    let inbox = place.inbox().await;
    let item = place.item("a", publish(Outgoing::new("orders", ""))).await;
    assert!(inbox.handle(vec![item]).await[0].is_err());
    // The server refuses the statement.
    place.client().await.batch_execute(&place.sql("DROP TABLE {s}.outbox")).await.unwrap();
    let refused = place.driver.produce(&place.url, publish(Outgoing::new("orders", "")), true).await;
    assert!(matches!(kind(refused), ErrorKind::Config | ErrorKind::Protocol));
    assert!(place.effects().await.is_empty() && !place.is_done("a").await);
}

/// The kind of the outbox's error, which the failure has at its end.
fn kind(refused: Result<(), Failure>) -> ErrorKind {
    let refused = refused.unwrap_err();
    let error = refused.causes().find_map(|cause| cause.downcast_ref::<ackonce::Error>());
    error.unwrap_or_else(|| panic!("{refused:?}")).kind()
}
