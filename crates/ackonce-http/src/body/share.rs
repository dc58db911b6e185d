//! The part of a budget that one body holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::BodyError;

/// With [`Budget::with_wait`](super::Budget::with_wait), the uncounted part of each body: as much as a server reads of a connection by itself. So
/// a sender that is slow, or that announces more than it sends, takes no room from others.
const UNCOUNTED: usize = 16 * 1024;

/// The bytes of a budget, and the time that a body may wait for its part of them.
#[derive(Debug, Clone)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    max: usize,
    pub(super) wait: Option<Duration>,
}

impl Room {
    pub(super) fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(max)), max, wait: None }
    }

    pub(super) fn held(&self) -> usize {
        self.max - self.bytes.available_permits()
    }

    fn no_room(&self) -> BodyError {
        BodyError::NoRoom { max: self.max }
    }
}

/// A part of a [`Budget`](super::Budget), given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    room: Room,
    /// The most bytes that the body announced.
    upper: u64,
    came: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Of a body of `upper` bytes at most, of which nothing has come.
    pub(super) fn new(room: Room, upper: Option<u64>) -> Self {
        Self { room, upper: upper.unwrap_or(u64::MAX), came: 0, permit: None }
    }

    /// Refuses a body of this announced length for which there is no room now, unless it may wait.
    pub(super) fn check(&self, announced: u64) -> Result<(), BodyError> {
        let fits = self.room.wait.is_some() || announced <= self.room.bytes.available_permits() as u64;
        if fits { Ok(()) } else { Err(self.room.no_room()) }
    }

    /// Takes the room for bytes that came; of a body of `max` bytes at most.
    pub(super) async fn grow(&mut self, more: usize, max: usize) -> Result<(), BodyError> {
        self.came += more;
        match self.room.wait {
            None => self.take(more),
            Some(_) if self.permit.is_some() || self.came <= UNCOUNTED => Ok(()),
            // Rare, and so not a part of each request's future.
            Some(longest) => Box::pin(self.wait(longest, max)).await,
        }
    }

    fn take(&mut self, more: usize) -> Result<(), BodyError> {
        let permit = u32::try_from(more)
            .ok()
            .and_then(|more| self.room.bytes.clone().try_acquire_many_owned(more).ok());
        let permit = permit.ok_or_else(|| self.room.no_room())?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }

    async fn wait(&mut self, longest: Duration, max: usize) -> Result<(), BodyError> {
        let all = usize::try_from(self.upper).unwrap_or(max).min(max).min(self.room.max);
        let permit = self.room.bytes.clone().acquire_many_owned(u32::try_from(all).unwrap_or(u32::MAX));
        match tokio::time::timeout(longest, permit).await {
            Ok(Ok(permit)) => {
                self.permit = Some(permit);
                Ok(())
            }
            _ => Err(self.room.no_room()),
        }
    }

    /// Gives back the room that the body, which is whole now, did not need.
    pub(super) fn shrink(&mut self) {
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(self.came)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::{poll, stream};
    use http::HeaderMap;
    use http_body::{Body, Frame};
    use http_body_util::{Full, StreamBody};

    use crate::body::{BodyError, Budget, Collected, Limits};

    const KIB: usize = 1024;

    fn bytes(len: usize) -> Full<Bytes> {
        Full::new(vec![0; len].into())
    }

    fn collect<B>(
        budget: &Budget,
        body: B,
    ) -> impl Future<Output = Result<Collected, BodyError>> + Send + use<B>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let limits = Limits { max_len: 24 * KIB, ..Limits::default() };
        budget.collect(&HeaderMap::new(), body, limits)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_may_wait_gets_the_room_of_the_one_before() {
        let budget = Budget::new(30 * KIB).with_wait(std::time::Duration::from_secs(1));
        let first = collect(&budget, bytes(20 * KIB)).await.unwrap();
        let _small = collect(&budget, bytes(16 * KIB)).await.unwrap();
        assert_eq!(budget.held(), 20 * KIB, "small ones need no room");
        let mut second = Box::pin(collect(&budget, bytes(20 * KIB)));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        let second = second.await.unwrap();
        let third = collect(&budget, bytes(20 * KIB)).await;
        assert!(matches!(third, Err(BodyError::NoRoom { max }) if max == 30 * KIB), "nobody gave any back");
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_gives_back_the_room_that_it_did_not_need() {
        let budget = Budget::new(30 * KIB).with_wait(std::time::Duration::from_secs(1));
        let half = || Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 10 * KIB])));
        let body = collect(&budget, StreamBody::new(stream::iter([half(), half()]))).await.unwrap();
        assert_eq!((body.bytes.len(), budget.held()), (20 * KIB, 20 * KIB));
    }
}
