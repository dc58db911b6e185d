//! The outbox in PostgreSQL: late commits, rotation, notifications, creation by several processes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce_outbox::{OutboxOptions, Outgoing, PostgresOutbox};
use ackonce_postgres::PostgresConfig;
use ackonce_testkit::proxy::{Proxy, ProxyMode};

use common::{Place, Recorder, Running, assert_in_order, messages, options, postgres, until};

fn parts(place: &Place) -> (&PostgresOutbox, &str) {
    let Place::Postgres { outbox, schema, .. } = place else { panic!("of the server") };
    (outbox, schema.quoted())
}

/// Numbers are handed out before commits: a row below those that are gone already is published all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_is_found_and_a_key_behind_a_lock_is_in_order() {
    let Some(place) = postgres().await else { return };
    let (outbox, _) = parts(&place);
    let recorder = Recorder::new();
    let relay = Running::start(outbox, &recorder);
    let mut late = place.client().await;
    let late = late.transaction().await.unwrap();
    outbox.publish_all(&late, &messages(0..3, 1)).await.unwrap();
    place.publish(&messages(10..30, 3)[1..2]).await;
    outbox.wake();
    until("the later one is out", async || recorder.len() == 1).await;
    late.commit().await.unwrap();
    outbox.wake();
    until("the late ones are out", async || recorder.len() == 4).await;
    assert_eq!(recorder.ids()[1..], ["k0:000000", "k0:000001", "k0:000002"]);
    relay.stop().await;
}

/// More than a half holds, while another session holds a snapshot, which no vacuum passes.
#[tokio::test(flavor = "multi_thread")]
async fn sent_rows_leave_no_bloat_even_under_an_old_snapshot() {
    let Some(place) = postgres().await else { return };
    let (outbox, schema) = parts(&place);
    let mut old = place.client().await;
    let old = old
        .build_transaction()
        .isolation_level(ackonce_postgres::tokio_postgres::IsolationLevel::RepeatableRead);
    let old = old.start().await.unwrap();
    old.query("SELECT txid_current(), count(*) FROM pg_class", &[]).await.unwrap();
    let recorder = Recorder::new();
    let relay = Running::start(outbox, &recorder);
    let payload = "x".repeat(4000);
    let mut most = 0;
    for n in 0..12 {
        // Compression would make them small.
        let all: Vec<_> = (0..1000)
            .map(|m| {
                let noise: String =
                    (0..40).map(|_| format!("{:?}", ackonce::store::Token::random())).collect();
                Outgoing::new("orders", format!("{n} {m} {noise}{}", &payload[..2000]))
                    .with_key(format!("k{m}"))
                    .with_id(format!("k{m}:{n:02}"))
            })
            .collect();
        place.publish(&all).await;
        outbox.wake();
        until("they are out", async || recorder.len() == (n + 1) * 1000).await;
        most = most.max(bytes(&place, schema).await);
    }
    until("both halves are small", async || bytes(&place, schema).await < 32 << 20).await;
    drop(old);
    let turned = place
        .client()
        .await
        .query_one(&format!("SELECT last_value FROM {schema}.outbox_id"), &[])
        .await
        .unwrap();
    assert_eq!(turned.get::<_, i64>(0), 12_000);
    assert!(most < 60 << 20, "{most}");
    assert_in_order(&recorder.ids());
    relay.stop().await;
}

async fn bytes(place: &Place, schema: &str) -> i64 {
    let text = format!(
        "SELECT (pg_total_relation_size('{0}.outbox_0') + pg_total_relation_size('{0}.outbox_1'))::bigint",
        schema.replace('\'', "''")
    );
    place.client().await.query_one(&text, &[]).await.unwrap().get(0)
}

/// A relay that would poll once an hour hears of a commit in another process.
#[tokio::test(flavor = "multi_thread")]
async fn a_notification_of_another_process_wakes_the_relay() {
    let Some(place) = postgres().await else { return };
    let recorder = Recorder::new();
    let mut deaf: OutboxOptions = options();
    deaf.poll = Duration::from_secs(3600);
    let relay = Running::with(&place.again().await, &recorder, deaf);
    let (outbox, _) = parts(&place);
    let mut n = 0;
    // The first ones may come before it listens.
    until("it hears", async || {
        place.publish(&messages(n..n + 1, 1)).await;
        n += 1;
        outbox.wake();
        tokio::time::sleep(Duration::from_millis(20)).await;
        recorder.len() > 20
    })
    .await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_create_the_tables_once() {
    let Some(place) = postgres().await else { return };
    let Place::Postgres { store, schema, .. } = &place else { panic!("of the server") };
    let client = place.client().await;
    let drop = "DROP TABLE {s}.outbox_turn, {s}.outbox, {s}.outbox_parked, {s}.outbox_relay, {s}.outbox_audit; DROP SEQUENCE {s}.outbox_id";
    client.batch_execute(&drop.replace("{s}", schema.quoted())).await.unwrap();
    let opened = futures_util::future::join_all((0..8).map(|_| PostgresOutbox::open(store))).await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    let sql = PostgresOutbox::schema_sql(schema);
    assert!(sql.contains("CREATE TABLE") && !sql.contains("{schema"), "{sql}");
    // A version that is not known is refused.
    client.batch_execute(&format!("UPDATE {}.outbox_turn SET version = 2", schema.quoted())).await.unwrap();
    let refused = PostgresOutbox::open(store).await.unwrap_err();
    assert_eq!(refused.kind(), ackonce::ErrorKind::NewerSchema);
}

/// A server that accepts and says nothing: a load balancer whose server is away, or a host that hangs. Connections that began
/// then stay silent after it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_outlives_a_connection_that_never_answers() {
    let Some(place) = postgres().await else { return };
    let Place::Postgres { url, schema, .. } = &place else { panic!("of the server") };
    let (proxy, proxied) = Proxy::in_front_of(url).await.unwrap();
    let config = PostgresConfig::new(&proxied).unwrap().with_schema(schema.clone());
    let outbox = PostgresOutbox::open(&config.connect().await.unwrap()).await.unwrap();
    let recorder = Recorder::new();
    let relay = Running::start(&outbox, &recorder);
    place.publish(&messages(0..3, 1)).await;
    until("the first ones are out", async || recorder.len() == 3).await;
    proxy.set(ProxyMode::Blackhole);
    proxy.cut_all().await;
    // Reads, upkeep and the listener connect anew meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.set(ProxyMode::Pass);
    place.publish(&messages(3..6, 1)).await;
    until("the others are out", async || recorder.len() >= 6).await;
    assert_in_order(&recorder.ids());
    relay.stop().await;
}
