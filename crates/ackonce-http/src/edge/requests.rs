//! The requests of one connection, for a server that ends connections without any.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The requests of one connection. Cloning is cheap; clones are of the same connection.
///
/// A server closes a connection that has none: its bytes do not tell, since an HTTP/2 client moves some with each answer to a
/// ping, and a connection whose version is not known yet has no time limit in hyper.
///
/// ```
/// use std::time::Duration;
/// use ackonce_http::edge::Requests;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let requests = Requests::new();
/// // In the connection's service, until its answer is made:
/// drop(requests.begin());
/// // Beside the connection:
/// requests.missing(Duration::from_secs(10), Duration::from_millis(1)).await;
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Requests(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    began: Instant,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    under_way: usize,
    /// The beginning or end of the last one.
    last: Option<Instant>,
}

impl Requests {
    /// None yet, on a connection that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Seen { began: Instant::now(), now: Mutex::default() }))
    }

    /// A request begins. It is under way until the returned value is dropped.
    #[must_use]
    pub fn begin(&self) -> RequestUnderWay {
        self.change(|under_way| under_way.saturating_add(1));
        RequestUnderWay(self.clone())
    }

    /// Ready if there was no request within `first`, or once there has been none under way for `between`; in a doubtful case
    /// it takes twice as long.
    pub async fn missing(&self, first: Duration, between: Duration) {
        loop {
            let left = {
                let now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
                match (now.under_way, now.last) {
                    (0, None) => first.saturating_sub(self.0.began.elapsed()),
                    (0, Some(last)) => between.saturating_sub(last.elapsed()),
                    _ => between,
                }
            };
            match left.is_zero() {
                true => return,
                false => tokio::time::sleep(left).await,
            }
        }
    }

    fn change(&self, count: impl FnOnce(usize) -> usize) {
        let mut now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = Now { under_way: count(now.under_way), last: Some(Instant::now()) };
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub struct RequestUnderWay(Requests);

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        self.0.change(|under_way| under_way.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const BETWEEN: Duration = Duration::from_secs(60);

    async fn is_over_after(requests: &Requests, time: Duration) -> bool {
        tokio::time::timeout(time, requests.missing(FIRST, BETWEEN)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_without_a_first_request_and_some_time_after_the_last() {
        let requests = Requests::new();
        assert!(!is_over_after(&requests, FIRST / 2).await);
        assert!(is_over_after(&requests, FIRST).await);
        let requests = Requests::new();
        let first = requests.begin();
        assert!(!is_over_after(&requests, BETWEEN * 100).await, "it is under way");
        let second = requests.begin();
        drop(first);
        assert!(!is_over_after(&requests, BETWEEN * 100).await, "another one is");
        drop(second);
        assert!(!is_over_after(&requests, BETWEEN / 2).await);
        assert!(is_over_after(&requests, BETWEEN * 2).await);
    }
}
