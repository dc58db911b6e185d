//! The servers that a store refuses, and the errors that say so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use ackonce::adapter::Mode;
use ackonce::store::{DeduplicatorExt, Inspect, Repeat, Settle, Settled, Settlement};
use ackonce::{Deduplicator, Error, ErrorKind};
use ackonce_postgres::{OnUnsafe, PostgresConfig, PostgresStore, Tables};
use common::deliveries::deliver;
use common::own::Own;
use common::{HOUR, Place, acquire, complete, connect, key, place, request};

async fn refused(config: PostgresConfig) -> (ErrorKind, String) {
    let error = config.connect().await.unwrap_err();
    (error.kind(), error.to_string())
}

fn expected(place: &Place) -> PostgresConfig {
    place.config().with_tables(Tables::Expected)
}

#[tokio::test]
async fn tables_that_are_missing_newer_or_somebody_elses() {
    let Some(place) = place() else { return };
    let (kind, text) = refused(expected(&place)).await;
    assert!(kind == ErrorKind::Config && text.contains("PostgresStore::schema_sql"), "{text}");

    place.store().await;
    expected(&place).connect().await.unwrap();
    let client = place.client().await;
    client.batch_execute("UPDATE meta SET version = 1000").await.unwrap();
    for config in [expected(&place), place.config()] {
        let (kind, text) = refused(config).await;
        assert!(kind == ErrorKind::NewerSchema && text.contains("upgrade ackonce-postgres"), "{text}");
    }
    client.batch_execute("DROP TABLE meta; CREATE TABLE meta (x int)").await.unwrap();
    let (kind, text) = refused(place.config()).await;
    assert!(kind == ErrorKind::Config && text.contains("not one that this store made"), "{text}");
}

/// Only the owner may create tables; a role that runs consumers needs the privileges that `schema_sql` names.
#[tokio::test]
async fn tables_made_by_hand_serve_a_role_of_few_rights() {
    let Some(place) = place() else { return };
    let (owner, role) = (connect(&place.url).await, format!("few_rights_{}", std::process::id()));
    owner.batch_execute(&PostgresStore::schema_sql(&place.schema)).await.unwrap();
    owner.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let as_role = place.url.replacen("ackonce@", &format!("{role}@"), 1);
    let as_role = Place { url: as_role, ..place.clone() };
    let (kind, text) = refused(expected(&as_role)).await;
    assert!(kind == ErrorKind::Config && text.contains("privilege"), "{text}");
    let schema = format!("\"{}\"", place.schema.as_str());
    let grant = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
    );
    owner.batch_execute(&grant).await.unwrap();
    let store = expected(&as_role).connect().await.unwrap();
    let lease = acquire(&store, request("a")).await;
    complete(&store, &lease).await;
    owner.batch_execute(&PostgresStore::schema_sql(&place.schema)).await.unwrap_err();
}

#[tokio::test]
async fn many_that_create_at_once_find_one_schema() {
    let Some(place) = place() else { return };
    let stores = futures_util::future::join_all((0..8).map(|_| place.config().connect())).await;
    let lease = acquire(stores[0].as_ref().unwrap(), request("a")).await;
    for store in &stores {
        complete(store.as_ref().unwrap(), &lease).await;
    }
}

/// An answer from tables with another secret would be a wrong one.
#[tokio::test]
async fn tables_that_were_made_anew_under_a_running_store() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let lease = acquire(&store, request("a")).await;
    let drop = format!("DROP SCHEMA \"{}\" CASCADE", place.schema.as_str());
    place.client().await.batch_execute(&drop).await.unwrap();
    let error = store.claim_one(request("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Never), "{error}");
    place.store().await;
    let claim = store.claim_one(request("a")).await.unwrap_err();
    let settle = store.settle(&[Settlement::new(&lease, common::done())]).await.unwrap_err();
    for error in [claim, settle] {
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Never), "{error}");
        assert!(ackonce::chain(&error).to_string().contains("connect again"), "{error}");
    }
}

#[tokio::test]
async fn servers_that_are_not_there_or_do_not_let_us_in() {
    let Some(place) = place() else { return };
    let error = PostgresConfig::new("postgres://user:secret@host:none/db").unwrap_err();
    assert!(
        error.kind() == ErrorKind::Config && !ackonce::chain(&error).to_string().contains("secret"),
        "{error}"
    );
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = Place { url: format!("postgres://ackonce@{nobody}/ackonce"), ..place.clone() };
    let error: Error = away.config().connect().await.unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
    for (from, to) in [("ackonce@", "nobody_of_that_name@"), ("/ackonce", "/no_such_database")] {
        let stranger = Place { url: place.url.replacen(from, to, 1), ..place.clone() };
        assert_eq!(refused(stranger.config()).await.0, ErrorKind::Config, "{to}");
    }
}

#[tokio::test]
async fn servers_that_cannot_record() {
    let Some(own) = Own::start() else { return };
    let place = own.place("refusals");
    let store = place.store().await;
    let read_only =
        Place { url: format!("{}?options=-cdefault_transaction_read_only=on", own.url), ..place.clone() };
    let (kind, text) = refused(read_only.config().with_unsafe(OnUnsafe::Downgrade)).await;
    assert!(kind == ErrorKind::ReadOnly && text.contains("read-only"), "{text}");

    own.control("stop");
    std::fs::write(own.data.join("standby.signal"), "").unwrap();
    own.control("start");
    let (kind, text) = refused(place.config().with_unsafe(OnUnsafe::Downgrade)).await;
    assert!(kind == ErrorKind::ReadOnly && text.contains("standby"), "{text}");
    // One that was a primary when it was connected to does not answer either, not even with a duplicate.
    let error = loop {
        let error = store.claim_one(request("a")).await.unwrap_err();
        if error.kind() != ErrorKind::Unavailable {
            break error;
        }
    };
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::ReadOnly, Repeat::Safe), "{error}");
}

#[tokio::test]
async fn servers_that_may_forget() {
    let Some(own) = Own::start() else { return };
    let place = own.place("refusals");
    assert!(place.store().await.describe().weaknesses.is_empty());
    for setting in ["fsync", "full_page_writes"] {
        own.set(setting, "off").await;
        let (kind, text) = refused(place.config()).await;
        assert!(kind == ErrorKind::Config && text.contains(&format!("{setting}=off")), "{text}");
        let weak = place.config().with_unsafe(OnUnsafe::Downgrade).connect().await.unwrap().describe();
        assert_eq!(weak.weaknesses.len(), 1, "{weak:?}");
        own.set(setting, "on").await;
    }
    place.client().await.batch_execute("ALTER TABLE record SET UNLOGGED").await.unwrap();
    let (kind, text) = refused(place.config()).await;
    assert!(kind == ErrorKind::Config && text.contains("unlogged"), "{text}");
}

/// `synchronous_commit=off` of a role, a database or a server holds for none of the store's statements.
#[tokio::test]
async fn commits_are_flushed_whatever_the_session_says() {
    let Some(place) = place() else { return };
    place.store().await;
    let watch = "CREATE TABLE seen (level text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
            INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
        CREATE TRIGGER see AFTER INSERT OR UPDATE ON record FOR EACH ROW EXECUTE FUNCTION see()";
    place.client().await.batch_execute(watch).await.unwrap();
    for (session, expected) in [("off", "on"), ("remote_apply", "remote_apply")] {
        let url = format!("{}?options=-csynchronous_commit={session}", place.url);
        let store = Place { url, ..place.clone() }.store().await;
        let lease = acquire(&store, request(session)).await;
        complete(&store, &lease).await;
        let client = place.client().await;
        let rows = client.query("DELETE FROM seen RETURNING level", &[]).await.unwrap();
        let levels: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(levels, [expected, expected]);
    }
}

/// The consumers would all end, for a privilege that is given back a minute later.
#[tokio::test]
async fn a_right_that_is_taken_away_at_run_time_is_waited_for() {
    let Some(place) = place() else { return };
    let (owner, role) = (connect(&place.url).await, format!("loses_rights_{}", std::process::id()));
    owner.batch_execute(&PostgresStore::schema_sql(&place.schema)).await.unwrap();
    let schema = format!("\"{}\"", place.schema.as_str());
    let on_tables = format!("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema}");
    let grant = format!("GRANT {on_tables} TO {role}");
    owner
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; {grant}"
        ))
        .await
        .unwrap();
    let as_role = Place { url: place.url.replacen("ackonce@", &format!("{role}@"), 1), ..place.clone() };
    let store = expected(&as_role).connect().await.unwrap();
    let lease = acquire(&store, request("a")).await;
    owner.batch_execute(&format!("REVOKE {on_tables} FROM {role}")).await.unwrap();
    let error = store.claim(&[request("b")]).await.unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Safe), "{error}");
    owner.batch_execute(&grant).await.unwrap();
    complete(&store, &lease).await;
    // Of a login as well, which a new connection needs.
    owner.batch_execute(&format!("ALTER ROLE {role} NOLOGIN")).await.unwrap();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    owner.batch_execute(&end).await.unwrap();
    let mut error = store.claim(&[request("b")]).await.unwrap_err();
    while error.kind() == ErrorKind::Unavailable {
        error = store.claim(&[request("b")]).await.unwrap_err();
    }
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Safe), "{error}");
    owner.batch_execute(&format!("ALTER ROLE {role} LOGIN")).await.unwrap();
    acquire(&store, request("b")).await;
}

#[tokio::test]
async fn more_connections_than_a_server_takes_are_refused_by_name() {
    let Some(place) = place() else { return };
    let (kind, text) = refused(place.config().with_connections(usize::MAX)).await;
    assert!(kind == ErrorKind::Config && text.contains("with_connections"), "{text}");
}

/// It costs its own message, and neither its batch nor its consumer.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_costs_its_own_message() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let handler = |_: ackonce::Context, _: i64| async { Ok::<_, ackonce::Failure>(()) };
    for mode in [Mode::Each, Mode::Batches] {
        place.client().await.batch_execute("DELETE FROM record").await.unwrap();
        let first = deliver(&store, 0..5, mode, handler).await;
        assert_eq!(first.completed, 5);
        let damage = "UPDATE record SET tally = 19 WHERE key = (SELECT key FROM record ORDER BY key LIMIT 1)";
        assert_eq!(place.client().await.execute(damage, &[]).await.unwrap(), 1);
        let counts = deliver(&store, 0..7, mode, handler).await;
        assert_eq!((counts.duplicate, counts.buried, counts.completed), (4, 1, 2), "{counts:?}");
    }
}

/// The renewal of others goes on.
#[tokio::test]
async fn a_settlement_of_a_record_that_cannot_be_read_is_lost() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let (bad, good) = (acquire(&store, request("bad")).await, acquire(&store, request("good")).await);
    let fence = i64::try_from(bad.fence).unwrap();
    let damage = "UPDATE record SET tally = 19 WHERE fence = $1";
    assert_eq!(place.client().await.execute(damage, &[&fence]).await.unwrap(), 1);
    let extend = Settle::Extend { lease: HOUR, window: HOUR };
    let both = [&bad, &good].map(|lease| Settlement::new(lease, extend.clone()));
    assert_eq!(store.settle(&both).await.unwrap(), [Settled::Lost, Settled::Yes]);
    let error = store.look(&key("bad")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
