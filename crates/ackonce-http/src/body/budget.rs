//! A limit on the bytes of bodies in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ackonce::BoxError;
use bytes::Buf;
use http_body::Body;

use super::read::{Collected, read};
use super::{BodyError, Limits};

/// A limit in bytes on the bodies of all requests together: those that arrive and those that are worked on. A limit on
/// requests alone bounds no memory, because bodies are read before there is a request to count.
///
/// A byte counts once it has arrived, so a client that announces much and sends nothing keeps nobody out. A body
/// that finds no room is refused with 503 and can be sent again; nothing waits while it holds a part of the budget.
/// Cloning is cheap; clones share the budget.
///
/// A server reads ahead on each connection, and those bytes are beside the budget: hyper up to 400 KiB, which `http1::Builder::max_buf_size` lowers.
///
/// ```
/// use ackonce_http::body::{BodyError, Budget, Limits};
/// use http_body_util::Full;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let budget = Budget::new(10);
/// let first = budget.collect(Full::new(&b"six by"[..]), Limits::default()).await?;
/// let second = budget.collect(Full::new(&b"six to"[..]), Limits::default()).await;
/// assert!(matches!(second, Err(BodyError::NoRoom { max: 10 })));
/// drop(first);
/// assert!(budget.collect(Full::new(&b"six to"[..]), Limits::default()).await.is_ok());
/// # Ok::<(), BodyError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Budget(Arc<Room>);

#[derive(Debug)]
struct Room {
    most: usize,
    held: AtomicUsize,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Room { most, held: AtomicUsize::new(0) }))
    }

    /// Reads a body, whole, as [`collect`](super::collect) does. Its bytes count until the [`Collected`] is dropped, or the
    /// [`Share`] that was taken out of it.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn collect<B>(
        &self,
        body: B,
        limits: Limits,
    ) -> impl Future<Output = Result<Collected, BodyError>> + use<B>
    where
        B: Body<Data: Buf, Error: Into<BoxError>>,
    {
        read(body, limits, Share { room: self.0.clone(), len: 0 })
    }

    /// The number of bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    len: usize,
}

impl Share {
    /// Takes more, if there is so much.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), BodyError> {
        let Room { most, held } = &*self.room;
        let grown = |held: usize| held.checked_add(more).filter(|sum| sum <= most);
        match held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => {
                self.len += more;
                Ok(())
            }
            Err(_) => Err(BodyError::NoRoom { max: *most }),
        }
    }

    /// True if so much more could be taken now.
    pub(super) fn check(&self, more: u64) -> Result<(), BodyError> {
        let Room { most, held } = &*self.room;
        let left = most.saturating_sub(held.load(Ordering::Relaxed)) as u64;
        if more <= left { Ok(()) } else { Err(BodyError::NoRoom { max: *most }) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.len, Ordering::Relaxed);
    }
}
