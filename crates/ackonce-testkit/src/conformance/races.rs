//! Many at once, over several clients: one wins, and all agree on the winner.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use ackonce::store::{ClaimRequest, Claimed, Lease, Settled, Token};
use tokio::sync::Barrier;

use super::Fixture;
use super::bench::{Bench, Client, SHORT, acquired, bury, complete, release, request};

const CLIENTS: usize = 4;
const TASKS: usize = 16;
const KEYS: usize = 12;

/// Runs one task per number, all from the same moment, spread over several clients.
async fn race<T, F>(fixture: &dyn Fixture, task: impl Fn(usize, Client) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::open(fixture).await);
    }
    let barrier = Arc::new(Barrier::new(TASKS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let (start, run) = (barrier.clone(), task(n, clients[n % CLIENTS].clone()));
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

/// The requests of one racer: a fresh attempt at each key, in an order of its own.
fn requests(bench: &Bench, racer: usize) -> Vec<ClaimRequest> {
    (0..KEYS).map(|n| bench.request(format!("key {}", (n * 5 + racer) % KEYS))).collect()
}

fn only_one_per_key(answers: &[(ClaimRequest, Claimed)]) {
    for n in 0..KEYS {
        let id = format!("key {n}");
        let here = answers.iter().filter(|(request, _)| request.key.id() == id.as_bytes());
        let won = here.filter(|(_, answer)| matches!(answer, Claimed::Acquired(_))).count();
        assert_eq!(won, 1, "winners of {id}");
    }
    let rest = answers.iter().all(|(_, a)| matches!(a, Claimed::Acquired(_) | Claimed::Busy { .. }));
    assert!(rest, "a claimed key is busy");
}

/// Single claims of the same keys: each key has one winner, the others are told to wait.
pub async fn racing_claims_have_one_winner(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let ends = race(fixture, |n, client| {
        let requests = requests(&bench, n);
        async move {
            let mut answers = Vec::new();
            for request in requests {
                answers.push((request.clone(), client.claim(&request).await));
            }
            answers
        }
    });
    only_one_per_key(&ends.await.concat());
}

/// Batches of the same keys in different orders: one winner per key, and no deadlock.
pub async fn racing_batches_have_one_winner_per_key(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let ends = race(fixture, |n, client| {
        let requests = requests(&bench, n);
        async move {
            let answers = client.claim_all(&requests).await;
            requests.into_iter().zip(answers).collect::<Vec<_>>()
        }
    });
    only_one_per_key(&ends.await.concat());
}

/// A lease ends while many wait for it: one of them takes the key over, as the next attempt.
pub async fn racing_takeovers_have_one_winner(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let old = bench.a.acquire(&bench.short("id")).await;
    let key = old.key.clone();
    let ends = race(fixture, |_, client| {
        let key = key.clone();
        async move {
            // Until some client holds it: only its holder sees the new fence.
            for _ in 0..600 {
                let request = request(key.clone());
                match client.claim(&request).await {
                    Claimed::Busy { free_in } if free_in > SHORT * 10 => return None,
                    Claimed::Busy { .. } => tokio::time::sleep(SHORT / 10).await,
                    answer => return Some(acquired(answer, &request)),
                }
            }
            None
        }
    });
    let won: Vec<_> = ends.await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "winners of a lapsed key: {won:?}");
    assert_eq!(won[0].attempt, 2, "the attempt after one that lapsed");
    assert!(won[0].fence > old.fence, "fence {} after fence {}", won[0].fence, old.fence);
    bench.b.lose(&old, complete()).await;
    bench.b.confirm(&won[0], complete()).await;
}

/// The same claim sent many times at once is granted once: one fence, one attempt.
pub async fn racing_repeats_share_one_grant(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.request("id");
    let leases: Vec<Lease> = race(fixture, |_, client| {
        let request = request.clone();
        async move { client.acquire(&request).await }
    })
    .await;
    assert!(leases.iter().all(|lease| *lease == leases[0]), "one claim, several grants: {leases:?}");
    assert_eq!(leases[0].attempt, 1, "the attempt of a claim that was sent many times");
}

/// Completed, released and buried at once: one of the three is applied, and the others are answered Lost.
pub async fn racing_settlements_of_one_lease_have_one_winner(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    let ends = race(fixture, |n, client| {
        let (lease, kind) = (lease.clone(), n % 3);
        let action = [complete(), release(), bury()][kind].clone();
        async move { (kind, client.settle(&lease, action).await) }
    })
    .await;
    let mut won: Vec<_> = ends.iter().filter(|(_, s)| *s == Settled::Yes).map(|(kind, _)| *kind).collect();
    won.sort_unstable();
    won.dedup();
    assert_eq!(won.len(), 1, "a lease was settled in several ways: {ends:?}");
    let told = ends.iter().filter(|(kind, _)| *kind == won[0]).all(|(_, s)| *s == Settled::Yes);
    assert!(told, "the same settlement was confirmed to some and refused to others: {ends:?}");
}

/// A completion after the lease meets claims of others: either it is recorded, or one took the key over.
pub async fn a_late_completion_and_a_takeover_agree(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for round in 0..5 {
        let lease = bench.a.acquire(&bench.short(format!("id {round}"))).await;
        bench.pass(SHORT).await;
        let ends = race(fixture, |n, client| {
            let lease = lease.clone();
            async move {
                match n {
                    0 => client.settle(&lease, complete()).await == Settled::Yes,
                    _ => {
                        let request = ClaimRequest { token: Token::random(), ..request(lease.key) };
                        matches!(client.claim(&request).await, Claimed::Acquired(_))
                    }
                }
            }
        })
        .await;
        assert_eq!(ends.iter().filter(|won| **won).count(), 1, "completed or taken over, not both");
    }
}
