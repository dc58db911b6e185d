//! Many at once, over several clients: one of them changes the record, and all answers agree.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use ackonce::Previous;
use ackonce::store::{AdminOutcome, Claimed};
use tokio::sync::Barrier;

use super::Fixture;
use super::bench::{Bench, bury, complete, request};
use super::client::Client;

const CLIENTS: usize = 4;
const TASKS: usize = 8;
const ROUNDS: usize = 5;

/// Runs one task per number, all from the same moment, spread over several clients.
async fn race<T, F>(clients: &[Client], task: impl Fn(usize, Client) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(TASKS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let (start, run) = (barrier.clone(), task(n, clients[n % clients.len()].clone()));
            tokio::spawn(async move {
                start.wait().await;
                run.await
            })
        })
        .collect();
    let mut ends = Vec::new();
    for task in tasks {
        match task.await {
            Ok(end) => ends.push(end),
            Err(e) if e.is_panic() => resume_unwind(e.into_panic()),
            Err(e) => panic!("a task of the race did not end: {e}"),
        }
    }
    ends
}

async fn clients(fixture: &dyn Fixture) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::open(fixture).await);
    }
    clients
}

fn one_did_it(ends: &[AdminOutcome]) {
    let won = ends.iter().filter(|end| **end == AdminOutcome::Yes).count();
    let rest = ends.iter().filter(|end| **end == AdminOutcome::Nothing).count();
    assert_eq!((won, rest), (1, TASKS - 1), "{ends:?}");
}

/// Many clients forget a record at once: one of them does it.
pub async fn racing_forgets_have_one_winner(fixture: &dyn Fixture) {
    let (bench, clients) = (Bench::new(fixture).await, clients(fixture).await);
    for round in 0..ROUNDS {
        let key = bench.settled(&format!("id {round}"), complete()).await.key;
        let forget = |_, client: Client| {
            let key = key.clone();
            async move { client.forget(&key).await }
        };
        one_did_it(&race(&clients, forget).await);
    }
}

/// Many clients redrive a record at once: one of them does it.
pub async fn racing_redrives_have_one_winner(fixture: &dyn Fixture) {
    let (bench, clients) = (Bench::new(fixture).await, clients(fixture).await);
    for round in 0..ROUNDS {
        let key = bench.settled(&format!("id {round}"), bury()).await.key;
        let redrive = |_, client: Client| {
            let key = key.clone();
            async move { client.redrive(&key).await }
        };
        one_did_it(&race(&clients, redrive).await);
    }
}

/// The answer to one racer.
#[derive(Debug)]
enum End {
    AdminOutcome(AdminOutcome),
    Claimed(Claimed),
}

/// The first racer is the operator, the others claim.
async fn repair_and_claim<F>(
    bench: &Bench,
    clients: &[Client],
    id: &str,
    repair: fn(Client, ackonce::Key) -> F,
) -> Vec<End>
where
    F: Future<Output = AdminOutcome> + Send + 'static,
{
    let key = bench.key(id);
    race(clients, |n, client| {
        let (key, ours) = (key.clone(), repair);
        async move {
            match n {
                0 => End::AdminOutcome(ours(client, key).await),
                _ => End::Claimed(client.claim(&request(key)).await),
            }
        }
    })
    .await
}

/// The attempts that were granted, each with the end of the one before, and the operator's answer.
fn won(ends: &[End]) -> (Vec<(u32, Previous)>, AdminOutcome) {
    let (mut won, mut told) = (Vec::new(), AdminOutcome::Nothing);
    for end in ends {
        match end {
            End::AdminOutcome(outcome) => told = *outcome,
            End::Claimed(Claimed::Acquired(lease)) => won.push((lease.attempt, lease.previous)),
            End::Claimed(_) => {}
        }
    }
    (won, told)
}

/// A lapsed claim is forgotten while others take it over: either the forget came first, and the winner's is a
/// first attempt, or it came too late, and changed nothing. In no case are there two holders.
pub async fn a_forget_and_claims_agree(fixture: &dyn Fixture) {
    let (bench, clients) = (Bench::new(fixture).await, clients(fixture).await);
    for round in 0..ROUNDS {
        let id = format!("id {round}");
        bench.lapsed(&id).await;
        let ends =
            repair_and_claim(&bench, &clients, &id, |client, key| async move { client.forget(&key).await })
                .await;
        let fair = match won(&ends) {
            (won, AdminOutcome::Yes) => won == [(1, Previous::None)],
            (won, AdminOutcome::InFlight) => won == [(2, Previous::Vanished)],
            (_, AdminOutcome::Nothing) => false,
        };
        assert!(fair, "{ends:?}");
        bench.b.is_busy(&bench.request(&id)).await;
    }
}

/// A done message is redriven while others claim it: earlier claims are answered done, and one of the later
/// claims is granted.
pub async fn a_redrive_and_claims_agree(fixture: &dyn Fixture) {
    let (bench, clients) = (Bench::new(fixture).await, clients(fixture).await);
    for round in 0..ROUNDS {
        let id = format!("id {round}");
        bench.settled(&id, complete()).await;
        let ends =
            repair_and_claim(&bench, &clients, &id, |client, key| async move { client.redrive(&key).await })
                .await;
        let (mut won, told) = won(&ends);
        assert_eq!(told, AdminOutcome::Yes, "{ends:?}");
        if won.is_empty() {
            let lease = bench.b.acquire(&bench.request(&id)).await;
            won.push((lease.attempt, lease.previous));
        }
        assert_eq!(won, [(1, Previous::Released)], "{ends:?}");
        bench.b.is_busy(&bench.request(&id)).await;
    }
}
