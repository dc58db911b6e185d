//! Two statements that overlap answer, and leave the record, as if one had come after the other.
//!
//! Each pair is run in both orders, one after the other, and then overlapping: the first is kept open after it has
//! written and before it commits, until the second waits for it or has gone past. The answers of the pair must then
//! be those of one of the two orders.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use ackonce::store::{
    Attempt, ClaimRequest, Claimed, DeduplicatorExt, Inspect, Lease, Note, RecordTarget, Settle, Settlement,
};
use ackonce::{Context, Failure, Handler};
use ackonce_postgres::tokio_postgres::{Client, Transaction};
use ackonce_postgres::{Entered, GuardOptions, InboxSettings, PostgresGuard, PostgresStore};
use common::{HOUR, Place, acquire, complete, done, item, key, place, request};

/// The state of the record before the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Absent,
    Claimed,
    /// Its lease has ended.
    Lapsed,
    Released,
    Waiting,
    Done,
    Buried,
    /// Its window has ended.
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    Claim,
    ClaimAgain,
    Complete,
    Release,
    Extend,
    Bury,
    Forget,
    Redrive,
    Sweep,
    Guard,
    Inbox,
}

impl State {
    fn has_lease(self) -> bool {
        self != Self::Absent
    }
}

impl Act {
    fn needs_lease(self) -> bool {
        !matches!(self, Self::Claim | Self::Forget | Self::Redrive | Self::Sweep | Self::Guard)
    }
}

const STATES: [State; 8] = [
    State::Absent,
    State::Claimed,
    State::Lapsed,
    State::Released,
    State::Waiting,
    State::Done,
    State::Buried,
    State::Expired,
];
const ACTS: [Act; 11] = [
    Act::Claim,
    Act::ClaimAgain,
    Act::Complete,
    Act::Release,
    Act::Extend,
    Act::Bury,
    Act::Forget,
    Act::Redrive,
    Act::Sweep,
    Act::Guard,
    Act::Inbox,
];

/// One of two clients, with connections of its own that are known by their name.
struct Actor {
    store: PostgresStore,
    client: tokio::sync::Mutex<Client>,
    place: Place,
}

impl Actor {
    async fn new(place: &Place, name: &str) -> Self {
        let url = format!("{}?application_name={name}", place.url);
        let place = Place { url, ..place.clone() };
        let config = place.config().with_lock_timeout(HOUR).with_request_timeout(HOUR);
        let (store, client) = (config.connect().await.unwrap(), place.client().await);
        Self { store, client: client.into(), place }
    }

    /// The answer, in words that leave out the times.
    async fn act(&self, act: Act, lease: Option<&Lease>) -> String {
        let (window, store, id) = (HOUR, &self.store, key("x"));
        let note = Note { actor: "a test".into(), reason: "to see".into() };
        let settle = async |action| {
            format!("{:?}", store.settle_one(Settlement::new(lease.unwrap(), action)).await.unwrap())
        };
        match act {
            Act::Claim => claimed(store.claim_one(request("x")).await.unwrap()),
            Act::ClaimAgain => {
                let request = ClaimRequest { token: lease.unwrap().token, ..request("x") };
                claimed(store.claim_one(request).await.unwrap())
            }
            Act::Complete => settle(done()).await,
            Act::Release => {
                settle(Settle::Release { attempt: Attempt::Counts, window, not_before: HOUR }).await
            }
            Act::Extend => settle(Settle::Extend { lease: HOUR, window }).await,
            Act::Bury => settle(Settle::Bury { window, reason: "a reason".into() }).await,
            Act::Forget => format!("{:?}", store.forget(RecordTarget::Key(&id), &note).await.unwrap()),
            Act::Redrive => format!("{:?}", store.redrive(RecordTarget::Key(&id), &note).await.unwrap()),
            Act::Sweep => format!("{} swept", store.sweep().await.unwrap()),
            Act::Guard => self.guard().await,
            Act::Inbox => self.inbox(lease.unwrap()).await,
        }
    }

    async fn guard(&self) -> String {
        let mut client = self.client.lock().await;
        let tx = client.transaction().await.unwrap();
        let options = GuardOptions::default();
        match PostgresGuard::enter_in(&self.place.schema, &tx, &key("x"), &options).await.unwrap() {
            Entered::First(guard) => {
                let attempt = guard.lease().attempt;
                guard.finish(&tx).await.unwrap();
                tx.commit().await.unwrap();
                format!("first, attempt {attempt}")
            }
            other => {
                tx.rollback().await.unwrap();
                match other {
                    Entered::Duplicate(record) => format!("duplicate, {:?}", record.state),
                    Entered::Busy { .. } => "busy".to_owned(),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    async fn inbox(&self, lease: &Lease) -> String {
        let settings = InboxSettings::default().with_lock_timeout(Some(HOUR)).with_connections(1);
        let inbox = self
            .store
            .inbox(|_: &Transaction<'_>, _: Context, (): ()| Box::pin(async { Ok::<_, Failure>(()) }))
            .with_settings(settings);
        match inbox.handle(vec![item(lease, ())]).await.remove(0) {
            Ok(_) => "recorded".to_owned(),
            // Completed under the same lease meanwhile: rolled back, and asked again by the runner.
            Err(Failure::Fenced) if self.record().await.starts_with("Done") => "recorded".to_owned(),
            Err(Failure::Fenced) => "fenced".to_owned(),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The record, in words that leave out the times.
    async fn record(&self) -> String {
        let record = self.store.look(&key("x")).await.unwrap().map(|entry| entry.record);
        record.map_or("absent".to_owned(), |record| format!("{:?}, attempt {}", record.state, record.attempt))
    }

    /// Empties the table and puts the record there.
    async fn set(&self, state: State) -> Option<Lease> {
        self.client.lock().await.batch_execute("DELETE FROM record; DELETE FROM name").await.unwrap();
        let lease = match state {
            State::Absent => return None,
            State::Lapsed => ClaimRequest { lease: Duration::ZERO, ..request("x") },
            State::Expired => ClaimRequest { lease: Duration::ZERO, window: Duration::ZERO, ..request("x") },
            _ => request("x"),
        };
        let lease = acquire(&self.store, lease).await;
        let settle = |action| self.store.settle_one(Settlement::new(&lease, action));
        match state {
            State::Released | State::Waiting => {
                let not_before = if matches!(state, State::Waiting) { HOUR } else { Duration::ZERO };
                settle(Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before }).await.unwrap();
            }
            State::Done => complete(&self.store, &lease).await,
            State::Buried => {
                settle(Settle::Bury { window: HOUR, reason: "a reason".into() }).await.unwrap();
            }
            _ => {}
        }
        Some(lease)
    }
}

fn claimed(answer: Claimed) -> String {
    match answer {
        Claimed::Acquired(lease) => format!("acquired, attempt {}, {:?}", lease.attempt, lease.previous),
        Claimed::Done(record) => format!("{:?}", record.state),
        Claimed::Busy { .. } => "busy".to_owned(),
        Claimed::Mismatch(_) => "mismatch".to_owned(),
    }
}

/// Keeps every transaction of `first` open between its writes and its commit, while the gate is closed.
const GATE: &str = "
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('application_name') = 'first' THEN PERFORM pg_advisory_xact_lock(GATE); END IF;
        RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT OR UPDATE OR DELETE ON record DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait()";

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_that_overlaps_is_one_after_the_other() {
    let Some(place) = place() else { return };
    let gate = i64::from(std::process::id()) + 2_000_000;
    let (first, second) = (Actor::new(&place, "first").await, Actor::new(&place, "second").await);
    let keeper = place.client().await;
    keeper.batch_execute(&GATE.replace("GATE", &gate.to_string())).await.unwrap();
    // Of this schema's two clients: whether the first is at its commit, and whether the second waits for it.
    let waits = format!(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted \
         AND a.application_name = $1 AND (l.locktype <> 'advisory' OR l.objid = {gate})"
    );
    let waiting = async |name: &str| keeper.query_one(&waits, &[&name]).await.unwrap().get::<_, i64>(0) > 0;
    let pairs = STATES.iter().flat_map(|&s| ACTS.iter().flat_map(move |&a| ACTS.map(|b| (s, a, b))));
    let pairs: Vec<_> =
        pairs.filter(|(s, a, b)| s.has_lease() || !(a.needs_lease() || b.needs_lease())).collect();
    let mut in_turn = HashMap::new();
    for &(state, a, b) in &pairs {
        let lease = first.set(state).await;
        let (one, other) = (first.act(a, lease.as_ref()).await, second.act(b, lease.as_ref()).await);
        in_turn.insert((state, a, b), (one, other, first.record().await));
    }
    let mut wrong = Vec::new();
    let mut overlapped = 0;
    for (state, a, b) in pairs {
        let (other, one, left) = in_turn[&(state, b, a)].clone();
        let orders = [in_turn[&(state, a, b)].clone(), (one, other, left)];
        let lease = first.set(state).await;
        keeper.query("SELECT pg_advisory_lock($1)", &[&gate]).await.unwrap();
        let (is_over, over) = tokio::sync::watch::channel((false, false));
        let one = async {
            let answer = first.act(a, lease.as_ref()).await;
            is_over.send_modify(|over| over.0 = true);
            answer
        };
        let other = async {
            while !over.borrow().0 && !waiting("first").await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let answer = second.act(b, lease.as_ref()).await;
            is_over.send_modify(|over| over.1 = true);
            answer
        };
        let open = async {
            while !over.borrow().0 && !waiting("first").await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let kept = !over.borrow().0;
            while !over.borrow().1 && !waiting("second").await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            keeper.query("SELECT pg_advisory_unlock($1)", &[&gate]).await.unwrap();
            kept
        };
        let (one, other, kept) = futures_util::future::join3(one, other, open).await;
        overlapped += usize::from(kept);
        let together = (one, other, first.record().await);
        if !orders.contains(&together) {
            wrong.push(format!("{state:?}: {a:?} and {b:?}: {together:?}, one after the other {orders:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(overlapped > 200, "{overlapped} of them overlapped");
}
