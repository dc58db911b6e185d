//! The user's pool: exhausted, leading elsewhere, with settings.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Repeat;
use ackonce::{ErrorKind, Failure, Handler};
use ackonce_postgres::InboxSettings;
use ackonce_tests::drivers::{Act, Driver, Pool};
use tokio::sync::Notify;

use crate::place::{Place, connect, store};

pub(crate) async fn an_exhausted_pool_is_no_fault_of_the_message(place: Place) {
    let pool = Pool { connections: 1, wait: Duration::from_secs(2), ..Pool::new(&place.url) };
    let inbox = Arc::new(place.inbox_with(&pool).await);
    let (running, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (started, ending) = (Arc::clone(&running), Arc::clone(&end));
    let holds = Act::wait(move || {
        let ending = Arc::clone(&ending);
        started.notify_one();
        async move { ending.notified().await }
    });
    let (first, second) = (
        place.item("a", vec![place.insert("a"), holds]).await,
        place.item("b", vec![place.insert("b")]).await,
    );
    let mut holding = tokio::spawn({
        let inbox = Arc::clone(&inbox);
        async move { inbox.handle(vec![first]).await }
    });
    tokio::select! {
        () = running.notified() => {}
        ended = &mut holding => panic!("it got no connection: {ended:?}"),
    }
    let refused = inbox.handle(vec![second.clone()]).await;
    let [Err(Failure::Store(error))] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
    end.notify_one();
    assert!(holding.await.unwrap()[0].is_ok());
    let later = inbox.handle(vec![second]).await;
    assert!(later[0].is_ok(), "{later:?}");
}

/// Nothing is run there, and nothing acknowledged.
pub(crate) async fn a_pool_of_another_database_is_refused(place: Place) {
    let driver = format!("{:?}", place.driver).to_lowercase();
    let name = format!("elsewhere_{}_{driver}", std::process::id());
    place.client().await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let url = format!("{}/{name}", place.url.rsplit_once('/').unwrap().0);
    let inbox = place.inbox_with(&Pool::new(&url)).await;
    let lost = |answers: &[ackonce::Answer], made: bool| {
        let [Err(Failure::Store(error))] = answers else { panic!("{answers:?}") };
        // Diesel does not show that a table is missing.
        let expected =
            if made || place.driver != Driver::Diesel { ErrorKind::Config } else { ErrorKind::Protocol };
        assert_eq!(error.kind(), expected, "{error}");
    };
    let item = place.item("a", vec![Act::Panic]).await;
    lost(&inbox.handle(vec![item.clone()]).await, false);
    // With tables, but another store's.
    drop(store(&url, &place.schema).await);
    let answers = inbox.handle(vec![item]).await;
    lost(&answers, true);
    assert!(format!("{answers:?}").contains("other tables than the store's"), "{answers:?}");
    assert!(!place.is_done("a").await);
    drop(connect(&url).await);
}

pub(crate) async fn settings_hold_for_the_transaction(place: Place) {
    let settings = InboxSettings::default()
        .with_lock_timeout(Some(Duration::from_millis(50)))
        .with_statement_timeout(Some(Duration::from_secs(77)));
    let inbox = place.inbox_with(&Pool { settings, ..Pool::new(&place.url) }).await;
    let show = "INSERT INTO {s}.effect SELECT current_setting('lock_timeout') || ' ' || \
                current_setting('statement_timeout') || ' ' || current_setting('idle_in_transaction_session_timeout')";
    let answers = inbox.handle(vec![place.item("a", vec![place.run(show)]).await]).await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(place.effects().await, ["50ms 77s 1min"]);
    // A lock timeout is the trouble of another transaction; Diesel cannot tell it from the statement's own fault.
    let mut rival = place.client().await;
    let held = rival.transaction().await.unwrap();
    held.batch_execute(&place.sql("LOCK TABLE {s}.owner")).await.unwrap();
    let acts = vec![place.run("INSERT INTO {s}.owner VALUES ('x')")];
    let answers = inbox.handle(vec![place.item("b", acts).await]).await;
    match (&answers[..], place.driver) {
        ([Err(Failure::Retry(_))], Driver::Diesel) => {}
        ([Err(Failure::Store(error))], _) => assert_eq!(error.repeat(), Repeat::Safe, "{error}"),
        other => panic!("{other:?}"),
    }
}
