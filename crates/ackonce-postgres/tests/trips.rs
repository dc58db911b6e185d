//! The number of waits for the server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use ackonce::store::{Claimed, Settlement};
use ackonce::{Context, Deduplicator, Failure, Handler};
use ackonce_postgres::Prepare;
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_testkit::proxy::Proxy;
use common::{Place, acquire, complete, done, item, place, request};

/// A duplicate, and a batch of any mixture, is one round trip; an inbox needs none for its settlement.
#[tokio::test]
async fn a_batch_is_one_trip() {
    let Some(place) = place() else { return };
    for prepare in [Prepare::Cached, Prepare::Never] {
        let (proxy, url) = Proxy::in_front_of(&place.url).await.unwrap();
        let far = Place { url, ..place.clone() }.config().with_prepare(prepare).connect().await.unwrap();
        let id = |n: usize| format!("{prepare:?} {n}");
        for n in 0..40 {
            let lease = acquire(&far, request(id(n))).await;
            if n % 2 == 0 {
                complete(&far, &lease).await;
            }
        }
        let trips = || proxy.counts().requests.turns;

        let before = trips();
        let answers = far.claim(&[request(id(0))]).await.unwrap();
        assert!(matches!(answers[..], [Claimed::Done(_)]));
        assert_eq!(trips() - before, 1, "a duplicate");

        // New ones, done ones, busy ones, and each of them twice.
        let requests: Vec<_> = (0..80).chain(0..80).map(|n| request(id(n))).collect();
        let before = trips();
        let answers = far.claim(&requests).await.unwrap();
        assert_eq!(trips() - before, 1, "a batch of claims");
        let leases: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                Claimed::Acquired(lease) => Some(lease),
                _ => None,
            })
            .collect();
        assert_eq!(leases.len(), 40);
        let settlements: Vec<_> = leases.iter().map(|lease| Settlement::new(lease, done())).collect();
        let before = trips();
        far.settle(&settlements).await.unwrap();
        assert_eq!(trips() - before, 1, "a batch of settlements");

        let inbox =
            far.inbox(|_: &Transaction<'_>, _: Context, (): ()| Box::pin(async { Ok::<_, Failure>(()) }));
        for (round, expected) in [("cold", None), ("warm", Some(4))] {
            let lease = acquire(&far, request(id(0) + round)).await;
            let before = trips();
            assert!(inbox.handle(vec![item(&lease, ())]).await[0].is_ok());
            let took = trips() - before;
            // BEGIN, how it stands, completion, COMMIT.
            assert!(expected.is_none_or(|expected| took == expected), "{round}: {took}");
        }
        let insert = place.text("INSERT INTO name VALUES (gen_random_uuid(), 'x', 'x')");
        let inbox = far.inbox(move |tx: &Transaction<'_>, _: Context, (): ()| {
            let insert = insert.clone();
            Box::pin(async move {
                tx.execute_typed(&insert, &[]).await?;
                Ok::<_, Failure>(())
            })
        });
        for (round, expected) in [("cold", None), ("warm", Some(15))] {
            let mut items = Vec::new();
            for n in 0..10 {
                items.push(item(&acquire(&far, request(format!("{prepare:?} {round} {n}"))).await, ()));
            }
            let before = trips();
            assert!(inbox.handle(items).await.iter().all(Result::is_ok));
            let took = trips() - before;
            // One for each handler's statement, its savepoint along with it, and one to release the last.
            assert!(expected.is_none_or(|expected| took == expected), "a group, {round}: {took}");
        }
    }
}
