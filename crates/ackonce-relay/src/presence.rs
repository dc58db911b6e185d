//! A sink that is away is asked by one message at a time; the others wait for its answer.
//!
//! Without that, each message in hand would be claimed, refused by the network and released again after its back-off,
//! thousands of times a second in an outage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce::{CancellationToken, Failure};
use tokio::sync::{Mutex, MutexGuard};

/// The longest wait of a message for its turn. Then it is retried later, and no attempt counts.
const TURN: Duration = Duration::from_secs(10);
/// The pause before a sink that is away is asked again, and the longest one: it doubles with each failure.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The presence of a sink, as the last delivery found it.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    away: AtomicBool,
    /// The turn to ask a sink that is away, with the failures in a row.
    turn: Mutex<u32>,
}

impl Presence {
    /// Delivers at once to a sink that is there, and in turn to one that is away. `is_away` tells it from an answer.
    ///
    /// # Errors
    /// [`Failure::Infrastructure`]: the sink was away for as long as this message could wait, or the relay shuts down.
    pub(crate) async fn deliver<T>(
        &self,
        delivery: impl Future<Output = T>,
        is_away: impl Fn(&T) -> bool,
        shutdown: &CancellationToken,
    ) -> Result<T, Failure> {
        let mut turn = None;
        if self.away.load(Ordering::Relaxed) {
            let failures = tokio::select! {
                biased;
                () = shutdown.cancelled() => None,
                failures = tokio::time::timeout(TURN, self.turn()) => failures.ok(),
            };
            turn = failures.ok_or_else(|| Failure::infrastructure("the sink is away"))?;
        }
        let answer = delivery.await;
        let is_away = is_away(&answer);
        self.away.store(is_away, Ordering::Relaxed);
        if let Some(failures) = &mut turn {
            **failures = if is_away { failures.saturating_add(1) } else { 0 };
        }
        Ok(answer)
    }

    /// The turn to ask, after a pause; `None` if the sink is back by then.
    async fn turn(&self) -> Option<MutexGuard<'_, u32>> {
        let failures = self.turn.lock().await;
        if self.away.load(Ordering::Relaxed) {
            tokio::time::sleep(pause(*failures)).await;
        }
        self.away.load(Ordering::Relaxed).then_some(failures)
    }
}

fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// A sink that counts its calls, and whether it is there.
    #[derive(Default)]
    struct Service {
        presence: Presence,
        calls: AtomicUsize,
        is_up: AtomicBool,
        shutdown: CancellationToken,
    }

    impl Service {
        async fn deliver(&self) -> Result<bool, Failure> {
            let call = async {
                self.calls.fetch_add(1, Ordering::Relaxed);
                self.is_up.load(Ordering::Relaxed)
            };
            self.presence.deliver(call, |is_up| !is_up, &self.shutdown).await
        }
    }

    async fn away() -> Arc<Service> {
        let service = Arc::new(Service::default());
        assert!(!service.deliver().await.unwrap());
        service
    }

    fn a_thousand(service: &Arc<Service>) -> Vec<JoinHandle<Result<bool, Failure>>> {
        let one = || {
            let service = service.clone();
            tokio::spawn(async move { service.deliver().await })
        };
        (0..1000).map(|_| one()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_away_is_asked_by_one_message_at_a_time() {
        let service = away().await;
        let all = a_thousand(&service);
        let began = Instant::now();
        for waiting in all {
            let _ = waiting.await.unwrap();
        }
        assert_eq!(began.elapsed().as_secs(), TURN.as_secs(), "none waits longer");
        assert!(service.calls.load(Ordering::Relaxed) < 20, "{:?}", service.calls);
    }

    #[tokio::test(start_paused = true)]
    async fn once_it_is_back_all_that_wait_go_at_once() {
        let service = away().await;
        let all = a_thousand(&service);
        service.is_up.store(true, Ordering::Relaxed);
        let began = Instant::now();
        for waiting in all {
            assert!(waiting.await.unwrap().unwrap());
        }
        assert!(began.elapsed() <= PAUSE * 2, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_the_wait() {
        let service = away().await;
        service.shutdown.cancel();
        assert!(matches!(service.deliver().await, Err(Failure::Infrastructure(_))));
    }
}
