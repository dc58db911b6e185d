//! A limit on the bytes of bodies in memory.

use std::time::Duration;

use ackonce::BoxError;
use http::HeaderMap;
use http_body::Body;

use super::read::{Collected, read};
use super::rest::{drop_sent, waits_for_continue};
use super::share::{Room, Share};
use super::{BodyError, Limits, announced};

/// A limit in bytes on the bodies of all requests together: those that arrive and those that are worked on. A limit on
/// requests alone bounds no memory, because bodies are read before there is a request to count.
///
/// A byte counts once it has arrived, so a client that announces much and sends nothing keeps nobody out. A body
/// that finds no room is refused with 503 and can be sent again; nothing waits while it holds a part of the budget.
/// [`with_wait`](Self::with_wait) makes bodies wait for room instead.
///
/// A server reads ahead on each connection, and those bytes are beside the budget: hyper up to 400 KiB, which
/// `http1::Builder::max_buf_size` lowers. Cloning is cheap; clones share the budget.
///
/// ```
/// use ackonce_http::body::{BodyError, Budget, Limits};
/// use http::HeaderMap;
/// use http_body_util::Full;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let budget = Budget::new(10);
/// let collect = |body: &'static str| budget.collect(&HeaderMap::new(), Full::new(body.as_bytes()), Limits::default());
/// let first = collect("six by").await?;
/// assert_eq!(first.bytes, "six by");
/// assert!(matches!(collect("six to").await, Err(BodyError::NoRoom { max: 10 })));
/// drop(first);
/// assert!(collect("six to").await.is_ok());
/// # Ok::<(), BodyError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Budget(Room);

impl Budget {
    /// A budget of this many bytes; a body that finds no room is refused.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Room::new(max))
    }

    /// The same, where a body waits for room for this long before it is refused: for senders that may never come again.
    ///
    /// The first 16 KiB of each body are not counted. A longer one takes the room for all of it at once, by its announced
    /// length or else by [`Limits::max_len`], in the order of arrival: two halves of bodies can never wait for each other.
    #[must_use]
    pub fn with_wait(mut self, longest: Duration) -> Self {
        self.0.wait = Some(longest);
        self
    }

    /// Reads the body of a request with these headers, whole. Its bytes count until the [`Collected`] is dropped, or the
    /// [`Share`] that was taken out of it.
    ///
    /// The bytes that arrive are counted: a body that announces more than the limit is refused unread, one that
    /// announces less or nothing (chunked) is refused where it passes the limit, and no more than the limit is ever
    /// held. The rest of a body that is refused as too large or without room is read and dropped in a task beside the answer, up
    /// to [`Limits::max_rest`], so that a client that writes all of its body before it reads the answer gets the answer.
    ///
    /// # Errors
    /// [`BodyError`], with a [`problem`](BodyError::problem) to answer. A client that hangs up is
    /// [`Broken`](BodyError::Broken), or the future is dropped with its connection.
    pub fn collect<B>(
        &self,
        headers: &HeaderMap,
        body: B,
        limits: Limits,
    ) -> impl Future<Output = Result<Collected, BodyError>> + Send + use<B>
    where
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        // Wrappers around a body do not always pass its length on.
        let announced = announced(headers);
        let upper = body.size_hint().upper().or(announced);
        let share = Share::new(self.0.clone(), upper);
        let is_on_its_way = !waits_for_continue(headers);
        let mut body = Box::pin(body);
        async move {
            let collected = read(body.as_mut(), announced, limits, share).await;
            if let Err(BodyError::TooLarge { .. } | BodyError::NoRoom { .. }) = collected
                && is_on_its_way
            {
                drop_sent(body, limits);
            }
            collected
        }
    }

    /// The number of bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held()
    }
}
