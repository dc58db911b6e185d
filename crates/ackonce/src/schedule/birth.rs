//! When a job began: slots before its first start were not missed. One record, written once, by the store's clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{
    CancellationToken, Context, Deduplicator, Delivery, Effect, Error, ErrorKind, Failure, Job, RecordOnly,
    Result, Runner, Scope, Settings, Why,
};

use super::gate::store_time;
use super::slots::{Every, id};

/// As good as for ever, and far from what a store's clock can count to.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[derive(Debug)]
struct Start;

impl Delivery for Start {
    type Message = ();

    fn message(&self) {}
}

/// The job's first slot, the one after its first start anywhere; `None` if it was stopped before it could be told.
pub(super) async fn first_slot(
    store: Arc<dyn Deduplicator>,
    scope: &Scope,
    every: Every,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> Result<Option<SystemTime>> {
    let scope = scope.beside("schedule");
    let handler = move |cx: Context, ()| async move {
        let first =
            every.after(store_time(&cx)).ok_or_else(|| Failure::permanent("the store has no clock"))?;
        Ok::<Effect, Failure>(Effect::done(Some(Bytes::from(id(first)))))
    };
    let settings = settings.clone().with_window(TEN_YEARS);
    let runner = Runner::with(store, &scope, handler, settings, Arc::new(RecordOnly))?;
    let key = scope.key("first slot").map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
    // At most twice: what was written now is read back as everybody else will read it.
    for _ in 0..2 {
        let receipt = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            settled = runner.process(Job::new(key.clone(), Start)) => match settled {
                Ok(receipt) => receipt,
                Err(unsettled) => match unsettled.why() {
                    Why::Fatal(error) | Why::Unavailable(error) => return Err(error.clone()),
                    why => return Err(Error::new(ErrorKind::Protocol, format!("{why:?}"))),
                },
            },
        };
        if let Some(record) = receipt.record() {
            return read(record.outcome.as_ref()).map(Some);
        }
    }
    Err(Error::new(ErrorKind::Protocol, "the store does not find what it has just recorded"))
}

fn read(outcome: Option<&Bytes>) -> Result<SystemTime> {
    outcome
        .and_then(|outcome| std::str::from_utf8(outcome).ok()?.parse().ok())
        .and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis)))
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the record of the job's first slot cannot be read"))
}
