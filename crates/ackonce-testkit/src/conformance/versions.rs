//! Newest wins, on the store: versions of an entity in any order, by workers that die, end at the newest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, NoDeadLetters};
use ackonce::store::Token;
use ackonce::{Backoff, Context, EntityVersion, Failure, Handler, Newest, Runner, Scope, Settings};

use super::Fixture;
use super::bench::{Bench, Client, key, within_patience};
use crate::seed::Dice;

const VERSIONS: i64 = 6;
/// Entities, each with an order of its own.
const ENTITIES: usize = 12;

/// An entity, and its version.
#[derive(Debug, Clone, Copy)]
struct Change(usize, i64);

#[derive(Debug)]
struct Arrived(Change);

impl Delivery for Arrived {
    type Message = Change;
    fn message(&self) -> Change {
        self.0
    }
}

/// The version that each entity has at the target of the effects.
type Target = Arc<Mutex<[i64; ENTITIES]>>;

fn handler(target: &Target) -> impl Handler<Change> + use<> {
    let target = target.clone();
    Newest::new(
        |Change(entity, version): &Change| Ok(EntityVersion::integer(entity.to_string(), *version)),
        move |_: Context, Change(entity, version): Change| {
            let target = target.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                target.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[entity] = version;
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok::<(), Failure>(())
            }
        },
    )
}

fn runner(client: &Client, scope: &Scope, target: &Target) -> Runner<Arrived, impl Handler<Change> + use<>> {
    let settings = Settings::default()
        .with_lease(Duration::from_secs(2))
        .with_backoff(Backoff { min: Duration::from_millis(5), max: Duration::from_millis(50) });
    let made = Runner::with(client.0.clone(), scope, handler(target), settings, Arc::new(NoDeadLetters));
    made.unwrap_or_else(|e| panic!("the runner could not be made: {e}"))
}

/// Two workers, a random order of each entity, and some runs that end midway, as if their process had died, to begin again.
pub async fn any_order_of_versions_ends_at_the_newest(fixture: &dyn Fixture) {
    let seed = u64::from_be_bytes(Token::random().0[..8].try_into().unwrap_or_default());
    let mut dice = Dice::new(seed);
    let bench = Bench::new(fixture).await;
    let target = Target::default();
    let runners = [runner(&bench.a, &bench.scope, &target), runner(&bench.b, &bench.scope, &target)];
    // One alone, and then the others at once: a store that never settles is found out by a few jobs.
    for entities in [0..1, 1..ENTITIES] {
        let mut runs = Vec::new();
        let mut orders = Vec::new();
        for entity in entities.clone() {
            let mut versions: Vec<i64> = (1..=VERSIONS).collect();
            for n in (1..versions.len()).rev() {
                versions.swap(n, dice.index(n + 1));
            }
            for (n, version) in versions.iter().copied().enumerate() {
                let dies_after = (dice.below(3) == 0).then(|| Duration::from_millis(dice.below(8)));
                let key = key(&bench.scope, format!("{entity}-{version}"));
                let job = move || Job::new(key.clone(), Arrived(Change(entity, version)));
                runs.push(until_settled(&runners[n % 2], job, dies_after));
            }
            orders.push(versions);
        }
        within_patience(futures_util::future::join_all(runs)).await;
        let last = *target.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (entity, versions) in entities.zip(&orders) {
            assert_eq!(last[entity], VERSIONS, "the version at the end of {versions:?}; seed {seed}");
        }
    }
}

async fn until_settled(
    runner: &Runner<Arrived, impl Handler<Change>>,
    job: impl Fn() -> Job<Arrived>,
    dies_after: Option<Duration>,
) {
    if let Some(after) = dies_after {
        let _ = tokio::time::timeout(after, runner.process(job())).await;
    }
    let ended = runner.process(job()).await;
    assert!(ended.is_ok(), "a version was not settled: {ended:?}");
}
