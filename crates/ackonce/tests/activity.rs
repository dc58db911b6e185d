//! The runners of a process and the messages with their handlers. One test in a process of its own: the board is for all.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ackonce::adapter::{Delivery, Job};
use ackonce::{Activity, Context, Failure, MemoryStore, Runner, Scope};
use tokio::sync::{Semaphore, mpsc};

struct Order(u32);
impl Delivery for Order {
    type Message = u32;
    fn message(&self) -> u32 {
        self.0
    }
}

#[tokio::test]
async fn messages_are_listed_while_their_handler_has_them() {
    let store = Arc::new(MemoryStore::new());
    let early = Runner::new(store.clone(), &Scope::new("early").unwrap(), |_: Context, _: u32| async {
        Ok::<(), Failure>(())
    })
    .unwrap();
    let activity = Activity::switch_on();
    let scope = Scope::new("shipping").unwrap();
    let (gate, (begun, mut beginnings)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let handler = {
        let gate = gate.clone();
        move |_: Context, order: u32| {
            let (gate, begun) = (gate.clone(), begun.clone());
            async move {
                begun.send(order).unwrap();
                gate.acquire().await.unwrap().forget();
                Ok::<(), Failure>(())
            }
        }
    };
    let runner = Runner::new(store, &scope, handler).unwrap();
    let jobs: Vec<_> = (1..=3)
        .map(|order| {
            let job = Job::new(scope.key(order.to_string()).unwrap(), Order(order));
            let runner = runner.clone();
            tokio::spawn(async move { runner.process(job).await.map(|receipt| receipt.redeem().0) })
        })
        .collect();
    for _ in 0..3 {
        beginnings.recv().await.unwrap();
    }

    let now = activity.running(2);
    assert_eq!((now.total, now.oldest.len()), (3, 2));
    assert!(now.oldest[0].age >= now.oldest[1].age);
    assert_eq!((now.oldest[0].key.scope().name(), now.oldest[0].attempt), ("shipping", 1));
    let [shipping] = &activity.runners()[..] else { panic!("one runner was made since") };
    assert_eq!((shipping.scope.as_str(), shipping.in_flight, shipping.counts.run), ("shipping", 3, 3));

    gate.add_permits(3);
    for job in jobs {
        job.await.unwrap().unwrap();
    }
    assert_eq!(activity.running(10).total, 0);
    assert_eq!((activity.runners()[0].in_flight, activity.runners()[0].counts.completed), (0, 3));
    drop(runner);
    early
        .process(Job::new(Scope::new("early").unwrap().key("1").unwrap(), Order(1)))
        .await
        .map(drop)
        .unwrap();
    assert_eq!(activity.running(10).total, 0);
}
