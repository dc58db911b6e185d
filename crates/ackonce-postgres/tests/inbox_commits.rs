//! A COMMIT whose answer is lost, or that is applied after everybody gave it up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Repeat};
use ackonce::{Answer, Context, ErrorKind, Failure, Handler};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_postgres::{PostgresInbox, PostgresStore};
use ackonce_testkit::proxy::{Proxy, ProxyMode};
use common::{Place, acquire, is_done, item, place, request};
use futures_util::future::BoxFuture;

/// A store that reaches its server through the proxy, and one that does not.
struct Both {
    place: Place,
    proxy: Arc<Proxy>,
    far: PostgresStore,
    near: PostgresStore,
}

async fn both() -> Option<Both> {
    let place = place()?;
    let near = place.config().with_lock_timeout(Duration::from_millis(50)).connect().await.unwrap();
    place.client().await.batch_execute("CREATE TABLE effect (id text NOT NULL)").await.unwrap();
    let (proxy, url) = Proxy::in_front_of(&place.url).await.unwrap();
    let far = Place { url, ..place.clone() }.store().await;
    Some(Both { place, proxy: Arc::new(proxy), far, near })
}

impl Both {
    async fn effects(&self) -> i64 {
        self.place.value("SELECT count(*) FROM effect").await
    }
}

fn store_error(answers: &[Answer]) -> (ErrorKind, Repeat) {
    match answers {
        [Err(Failure::Store(error))] => (error.kind(), error.repeat()),
        other => panic!("{other:?}"),
    }
}

/// Inserts its ID, counts its runs, and after the insert loses the n-th reply from there, if told so.
#[derive(Clone, Default)]
struct Cutting {
    runs: Arc<AtomicUsize>,
    nth: Arc<AtomicU32>,
}

impl Cutting {
    #[allow(clippy::type_complexity, reason = "the type of an inbox handler")]
    fn inbox(
        &self,
        both: &Both,
    ) -> PostgresInbox<
        impl for<'a> Fn(&'a Transaction<'a>, Context, &'static str) -> BoxFuture<'a, Result<(), Failure>> + use<>,
    > {
        let (this, proxy) = (self.clone(), Arc::clone(&both.proxy));
        let insert = both.place.text("INSERT INTO effect VALUES ($1)");
        both.far.inbox(move |tx: &Transaction<'_>, _: Context, id: &'static str| {
            let (insert, proxy, this) = (insert.clone(), Arc::clone(&proxy), this.clone());
            this.runs.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tx.execute(&insert, &[&id]).await?;
                match this.nth.swap(0, Ordering::SeqCst) {
                    0 => {}
                    nth => proxy.set_replies(ProxyMode::Cut { nth }),
                }
                Ok(())
            })
        })
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    let Some(both) = both().await else { return };
    let cutting = Cutting::default();
    let inbox = cutting.inbox(&both);
    let warm = async |id: &'static str| {
        let answers = inbox.handle(vec![item(&acquire(&both.near, request(id)).await, id)]).await;
        assert!(answers[0].is_ok(), "statements are prepared: {answers:?}");
    };
    // The reply to the last statement, then that to the COMMIT.
    for (nth, [first, id], repeat, committed) in
        [(1, ["w1", "before"], Repeat::Safe, false), (2, ["w2", "after"], Repeat::Unknown, true)]
    {
        warm(first).await;
        let lease = acquire(&both.near, request(id)).await;
        cutting.nth.store(nth, Ordering::SeqCst);
        let answers = inbox.handle(vec![item(&lease, id)]).await;
        assert_eq!(store_error(&answers), (ErrorKind::Unavailable, repeat), "{id}");
        assert_eq!(is_done(&both.near, id).await, committed, "{id}");
        let before = cutting.runs.load(Ordering::SeqCst);
        let again = inbox.handle(vec![item(&lease, id)]).await;
        assert!(again[0].is_ok(), "{id}: {again:?}");
        let ran = cutting.runs.load(Ordering::SeqCst) - before;
        assert_eq!(ran, usize::from(!committed), "{id}: what is recorded does not run again");
    }
    assert_eq!(both.proxy.counts().replies.cut, 2);
    assert_eq!(both.effects().await, 4);
}

/// The server is at the COMMIT when its client goes away: it goes on, while the lease has ended and a rival asks.
#[tokio::test]
async fn a_commit_applied_late_lets_no_rival_in() {
    let Some(both) = both().await else { return };
    let gate = i64::from(std::process::id());
    let slow = format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_xact_lock({gate}); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION wait()"
    );
    let holder = both.place.client().await;
    holder.batch_execute(&slow).await.unwrap();
    holder.query("SELECT pg_advisory_lock($1)", &[&gate]).await.unwrap();

    let cutting = Cutting::default();
    let inbox = cutting.inbox(&both);
    let lease = acquire(&both.near, ClaimRequest { lease: Duration::ZERO, ..request("late") }).await;
    let run = inbox.handle(vec![item(&lease, "late")]);
    let cut = async {
        let waiting = format!(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = {gate}"
        );
        while both.place.value(&waiting).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Nor does the request to cancel it come through.
        both.proxy.refuse().await;
        both.proxy.cut_all().await;
    };
    let (answers, ()) = futures_util::future::join(run, cut).await;
    assert_eq!(store_error(&answers), (ErrorKind::Unavailable, Repeat::Unknown));
    let rival = both.near.claim_one(request("late")).await.unwrap();
    assert!(matches!(rival, Claimed::Busy { .. }), "{rival:?}");

    holder.query("SELECT pg_advisory_unlock($1)", &[&gate]).await.unwrap();
    both.proxy.accept().await.unwrap();
    while both.effects().await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_done(&both.near, "late").await);
    let again = inbox.handle(vec![item(&lease, "late")]).await;
    assert!(again[0].is_ok(), "{again:?}");
    assert_eq!((cutting.runs.load(Ordering::SeqCst), both.effects().await), (1, 1));
}

/// The last statement is kept back until the lease has ended and a rival has run the message: it completes nothing.
#[tokio::test]
async fn a_run_that_comes_back_late_commits_nothing() {
    let Some(both) = both().await else { return };
    let (proxy, insert) = (Arc::clone(&both.proxy), both.place.text("INSERT INTO effect VALUES ($1)"));
    let stalls = Arc::new(Mutex::new(true));
    let inbox = both.far.inbox(move |tx: &Transaction<'_>, _: Context, id: &'static str| {
        let (insert, proxy, stalls) = (insert.clone(), Arc::clone(&proxy), Arc::clone(&stalls));
        Box::pin(async move {
            tx.execute(&insert, &[&id]).await?;
            if std::mem::take(&mut *stalls.lock().unwrap()) {
                proxy.set_requests(ProxyMode::Hold);
            }
            Ok::<_, Failure>(())
        })
    });
    let stalled = acquire(&both.near, ClaimRequest { lease: Duration::ZERO, ..request("a") }).await;
    let run = inbox.handle(vec![item(&stalled, "a")]);
    let rival = async {
        both.proxy.wait_for(|counts| counts.requests.held > 0).await;
        let lease = acquire(&both.near, request("a")).await;
        let direct = both.near.inbox({
            let insert = both.place.text("INSERT INTO effect VALUES ($1)");
            move |tx: &Transaction<'_>, _: Context, id: &'static str| {
                let insert = insert.clone();
                Box::pin(async move {
                    tx.execute(&insert, &[&id]).await?;
                    Ok::<_, Failure>(())
                })
            }
        });
        assert!(direct.handle(vec![item(&lease, "a")]).await[0].is_ok());
        both.proxy.set_requests(ProxyMode::Pass);
    };
    let (answers, ()) = futures_util::future::join(run, rival).await;
    assert!(matches!(&answers[..], [Err(Failure::Fenced)]), "{answers:?}");
    assert_eq!(both.effects().await, 1);
}
