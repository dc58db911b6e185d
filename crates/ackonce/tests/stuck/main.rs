//! One message holds back itself and its lane, nothing else; each test is named after a fault that was seen. The clock
//! is tokio's and paused: waits cost nothing, and a wait that never ends shows as one that is never over.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod burials;
#[path = "../common/mod.rs"]
mod common;
mod settlements;
mod slots;
mod waits;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Burial, BuryError, Graveyard, Letter, Mode, RecordOnly, SettledAs, Stage, Why};
use ackonce::store::{
    Claimed, DeduplicatorExt, Inspect, Note, Record, RecordTarget, Settle, Settlement, State,
};
use ackonce::{
    Backoff, Batch, Context, Effect, Error, ErrorKind, Failure, Found, Item, OnFailure, OnUnknown, Previous,
    Probe, Runner, Settings,
};
use async_trait::async_trait;
use bytes::Bytes;
use common::consumption::{consume, consume_with};
use common::{Number, Scripted, claim_request, job, scope, settings};
use tokio::time::Instant;

/// What the dead-letter place answers.
#[derive(Clone, Default)]
struct Place {
    away: Arc<AtomicBool>,
    never: bool,
    reduced: bool,
    letters: Arc<Mutex<Vec<Burial>>>,
}

#[async_trait]
impl Graveyard<Number> for Place {
    async fn bury(&self, _: &Number, burial: &Burial) -> Result<Letter, BuryError> {
        if self.away.load(Ordering::SeqCst) {
            return Err("away".into());
        }
        if self.never {
            return Err(BuryError::Never("the broker's limit is 1 MB".into()));
        }
        self.letters.lock().unwrap().push(burial.clone());
        Ok(if self.reduced { Letter::Reduced("without its body".into()) } else { Letter::Whole })
    }
}

fn place(away: bool) -> Place {
    Place { away: Arc::new(AtomicBool::new(away)), ..Place::default() }
}

async fn record(store: &Scripted, n: u64) -> Record {
    store.store.look(&scope().key(n.to_string()).unwrap()).await.unwrap().unwrap().record
}
