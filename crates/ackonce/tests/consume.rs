//! The consumption loop without a broker: lanes keep their order, batches share trips, stops hand back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Mode, SettledAs};
use ackonce::{Answer, Batch, Context, Effect, Failure, Item};
use common::consumption::consume;
use common::{Fault, Scripted, settings};

#[tokio::test(flavor = "multi_thread")]
async fn lanes_keep_their_order_through_retries_and_run_side_by_side() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (log, now, max) = (seen.clone(), busy.clone(), most.clone());
    let consumption = consume(&Scripted::default(), settings(), Mode::Each, move |cx: Context, n: u64| {
        let (log, now, max) = (log.clone(), now.clone(), max.clone());
        async move {
            max.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            if n.is_multiple_of(7) && cx.attempt() < 3 {
                return Err(Failure::from("again"));
            }
            log.lock().unwrap().push(n);
            Ok(())
        }
    });
    for chunk in 0..4_u64 {
        consumption.feed((0..50).map(|n| (Some(n % 5), chunk * 50 + n))).await;
    }
    let (outcomes, counts) = consumption.end().await;
    assert_eq!((outcomes.len(), counts.run), (200, 200 + 2 * 29));
    let seen = seen.lock().unwrap();
    for lane in 0..5 {
        assert!(seen.iter().filter(|n| **n % 5 == lane).is_sorted(), "lane {lane}: {seen:?}");
    }
    assert!((2..=5).contains(&most.load(Ordering::SeqCst)), "one at a time in each of 5 lanes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_message_holds_up_its_own_lane_only() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let wait = gate.clone();
    let consumption = consume(&Scripted::default(), settings(), Mode::Each, move |_: Context, n: u64| {
        let wait = wait.clone();
        async move {
            if n == 0 {
                let _ = wait.acquire().await;
            }
            Ok::<_, Failure>(())
        }
    });
    consumption.feed([(Some(0), 0), (Some(0), 1), (Some(1), 2), (None, 3)]).await;
    while consumption.outcomes.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gate.add_permits(1);
    let (outcomes, _) = consumption.end().await;
    let order: Vec<_> = outcomes.iter().map(|o| o.unwrap().0).collect();
    assert!(order[..2].contains(&2) && order[..2].contains(&3) && order[2..] == [0, 1], "{order:?}");
}

#[tokio::test]
async fn a_batch_is_one_run_and_its_failures_go_on_alone() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let log = sizes.clone();
    let handler = Batch(move |items: Vec<Item<u64>>| {
        log.lock().unwrap().push(items.len());
        async move {
            let answer = |item: &Item<u64>| -> Answer {
                if item.message == 3 && item.cx.attempt() == 1 {
                    Err("again".into())
                } else {
                    Ok(Effect::from(()))
                }
            };
            items.iter().map(answer).collect()
        }
    });
    let consumption = consume(&Scripted::default(), settings(), Mode::Batches, handler);
    // Twice the same ID in one chunk: one runs, the other waits for it.
    consumption.feed((0..10).chain([5]).map(|n| (Some(0), n))).await;
    let (outcomes, counts) = consumption.end().await;
    assert_eq!(*sizes.lock().unwrap(), [10, 1], "the batch, then the one to retry");
    assert_eq!((outcomes.len(), counts.run, counts.duplicate), (11, 11, 1));
    assert!(outcomes.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_batch_runs_while_the_store_records_the_last_and_is_not_claimed_before() {
    let store = Scripted::default();
    // The first batch is never recorded.
    store.settles.lock().unwrap().push_back(Fault::Never);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let wait = gate.clone();
    let handler = Batch(move |items: Vec<Item<u64>>| {
        let wait = wait.clone();
        async move {
            wait.acquire().await.unwrap().forget();
            items.iter().map(|_| -> Answer { Ok(Effect::from(())) }).collect()
        }
    });
    let two_at_a_time = settings().with_chunk(2);
    let consumption = consume(&store, two_at_a_time, Mode::Batches, handler);
    let run = async |n: u64| {
        while consumption.runner.counts().run < n {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    for chunk in 0..3_u64 {
        consumption.feed((0..2).map(|n| (None, 2 * chunk + n))).await;
    }
    run(2).await;
    // A kill now charges an attempt to the two that run.
    assert_eq!(store.store.len(), 2, "what waits for the handler is not claimed");
    gate.add_permits(1);
    // The fault is for the first batch, however late its task comes to the store.
    while !store.settles.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gate.add_permits(2);
    run(6).await;
    while consumption.outcomes.lock().unwrap().len() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    consumption.runner.abort();
    let (mut outcomes, _) = consumption.end().await;
    outcomes.sort_by_key(|o| o.map_or_else(|n| n, |(n, _)| n));
    assert_eq!(outcomes[..2], [Err(0), Err(1)], "not recorded, not to be acknowledged");
    assert!(outcomes[2..].iter().all(|o| matches!(o, Ok((_, SettledAs::Run)))), "{outcomes:?}");
}

#[tokio::test]
async fn answers_that_a_batch_handler_owes_are_unknown() {
    let handler = Batch(|items: Vec<Item<u64>>| async move {
        items.iter().filter(|i| i.cx.attempt() > 1 || i.message == 0).map(|_| Ok(Effect::from(()))).collect()
    });
    let consumption = consume(&Scripted::default(), settings(), Mode::Batches, handler);
    consumption.feed((0..3).map(|n| (None, n))).await;
    let (outcomes, counts) = consumption.end().await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(counts.run, 5, "message 0 once, the two without an answer again");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_hands_back_the_queue_and_the_next_consumer_is_not_kept_waiting() {
    let store = Scripted::default();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let wait = gate.clone();
    let consumption = consume(&store, settings(), Mode::Each, move |_: Context, _: u64| {
        let wait = wait.clone();
        async move {
            let _ = wait.acquire().await;
            Ok::<_, Failure>(())
        }
    });
    consumption.feed((0..20).map(|n| (Some(0), n))).await;
    while consumption.runner.counts().run == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    consumption.runner.stop();
    gate.add_permits(1);
    let (outcomes, counts) = consumption.end().await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1, "what ran was settled");
    assert_eq!((outcomes.len(), counts.run), (20, 1));

    // The lease is 20 s: only claims that were handed back can all run now, and as first attempts.
    let next = consume(&store, settings(), Mode::Each, |cx: Context, _: u64| async move {
        if cx.attempt() == 1 { Ok(()) } else { Err(Failure::permanent("charged for nothing")) }
    });
    next.feed((0..20).map(|n| (None, n))).await;
    let (_, counts) = next.end().await;
    assert_eq!((counts.run, counts.duplicate, counts.buried, counts.busy), (19, 1, 0, 0));
}

#[tokio::test]
async fn a_store_that_refuses_ends_the_consumer() {
    let store = Scripted::default();
    store.claims.lock().unwrap().push_back(Fault::Refuse);
    let consumption =
        consume(&store, settings(), Mode::Each, |_: Context, _: u64| async { Ok::<_, Failure>(()) });
    consumption.feed((0..5).map(|n| (None, n))).await;
    drop(consumption.input);
    assert!(consumption.task.await.unwrap().is_err());
    assert!(consumption.outcomes.lock().unwrap().iter().all(Result::is_err), "nothing to acknowledge");
}
