//! The COMMIT: refused, without an answer, and never sent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Repeat};
use ackonce::{ErrorKind, Failure, Handler};
use ackonce_testkit::proxy::Proxy;
use ackonce_tests::drivers::{Act, Driver, Pool};

use crate::place::{Place, acquire, item, request};

pub(crate) async fn a_constraint_at_the_commit_charges_its_own_message(place: Place) {
    let inbox = place.inbox().await;
    let items = vec![
        place.item("a", vec![place.insert("a")]).await,
        place.item("orphan", vec![place.run("INSERT INTO {s}.pet VALUES ('nobody')")]).await,
        place.item("c", vec![place.insert("c")]).await,
    ];
    for answer in inbox.handle(items.clone()).await {
        let Err(Failure::Store(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.repeat(), Repeat::Safe, "{error}");
    }
    assert_eq!((place.count("effect").await, place.count("pet").await), (0, 0));
    // Asked again, each runs alone, and it shows which one it was; it does not disturb the others any more.
    for _ in 0..2 {
        let answers = inbox.handle(items.clone()).await;
        assert!(matches!(&answers[..], [Ok(_), Err(Failure::Retry(_)), Ok(_)]), "{answers:?}");
        assert_eq!((place.count("effect").await, place.count("pet").await), (2, 0));
    }
    // A trigger of the user's refuses with a code that not every driver shows.
    let trigger = "CREATE FUNCTION {s}.never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'never'; END $$;
         CREATE CONSTRAINT TRIGGER never AFTER INSERT ON {s}.owner DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION {s}.never()";
    place.client().await.batch_execute(&place.sql(trigger)).await.unwrap();
    let acts = vec![place.run("INSERT INTO {s}.owner VALUES ('x')")];
    let refused = inbox.handle(vec![place.item("trigger", acts).await]).await;
    assert!(matches!(&refused[..], [Err(Failure::Retry(_))]), "{refused:?}");
}

/// The server is at the COMMIT when its client goes away: it goes on, and the same attempt finds that out.
pub(crate) async fn a_commit_without_an_answer_is_asked_for(place: Place) {
    static GATES: AtomicU32 = AtomicU32::new(1);
    let gate = i64::from(std::process::id()) * 100 + i64::from(GATES.fetch_add(1, Ordering::Relaxed));
    let slow = format!(
        "CREATE FUNCTION {{s}}.wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_xact_lock({gate}); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {{s}}.effect DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION {{s}}.wait()"
    );
    let holder = place.client().await;
    holder.batch_execute(&place.sql(&slow)).await.unwrap();
    holder.query("SELECT pg_advisory_lock($1)", &[&gate]).await.unwrap();
    let (proxy, url) = Proxy::in_front_of(&place.url).await.unwrap();
    let inbox = place.inbox_with(&Pool::new(&url)).await;
    let lease = acquire(&place.store, ClaimRequest { lease: Duration::ZERO, ..request("late") }).await;
    let run = inbox.handle(vec![item(&lease, vec![place.insert("late")])]);
    let cut = async {
        let waiting = format!(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = {gate}"
        );
        while holder.query_one(&waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.refuse().await;
        proxy.cut_all().await;
    };
    let (answers, ()) = tokio::join!(run, cut);
    let [Err(Failure::Store(error))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Unknown), "{error}");
    let rival = place.store.claim_one(request("late")).await.unwrap();
    assert!(matches!(rival, Claimed::Busy { .. }), "the uncommitted record holds it: {rival:?}");
    holder.query("SELECT pg_advisory_unlock($1)", &[&gate]).await.unwrap();
    proxy.accept().await.unwrap();
    while place.count("effect").await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(place.is_done("late").await);
    let again = inbox.handle(vec![item(&lease, vec![Act::Panic])]).await;
    assert!(again[0].is_ok(), "it is recorded, and does not run again: {again:?}");
    assert_eq!(place.effects().await, ["late"]);
}

/// The server ends the session while the handlers run: all messages of the group are untouched, and run again.
pub(crate) async fn a_lost_connection_is_no_fault_of_the_message(place: Place) {
    let inbox = place.inbox().await;
    let kill = place.swallow("SELECT pg_terminate_backend(pg_backend_pid())");
    for ids in [&["a"][..], &["b", "killed", "c"]] {
        let mut items = Vec::new();
        for id in ids {
            let acts = match *id {
                "a" | "killed" => vec![place.insert(id), kill.clone()],
                _ => vec![place.insert(id)],
            };
            items.push(place.item(id, acts).await);
        }
        for answer in inbox.handle(items).await {
            let Err(Failure::Store(error)) = answer else { panic!("{ids:?}: {answer:?}") };
            assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
        }
    }
    // A handler that passes the error on is not charged either, where the driver shows its code.
    let acts = vec![place.run("SELECT pg_terminate_backend(pg_backend_pid())")];
    let passed = inbox.handle(vec![place.item("passed on", acts).await]).await;
    let is_charged = place.driver == Driver::Diesel;
    match &passed[..] {
        [Err(Failure::Store(_))] if !is_charged => {}
        [Err(Failure::Retry(_) | Failure::Store(_))] if is_charged => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(place.count("effect").await, 0);
    let next = inbox.handle(vec![place.item("next", vec![place.insert("next")]).await]).await;
    assert!(next[0].is_ok(), "{next:?}");
}
