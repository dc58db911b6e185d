//! A budget in bytes that all bodies share.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ackonce::BoxError;
use ackonce_http::body::{BodyError, Limits, check_length, collect, drop_rest};
use ackonce_http::problem::Problem;
use bytes::{Buf, Bytes};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::PollSemaphore;

/// The uncounted part of each body: as much as the server reads of a connection by itself. So a sender that is
/// slow, or that announces more than it sends, takes no room from senders of events.
const UNCOUNTED: usize = 16 * 1024;

/// Room is given in pieces of this.
const PIECE: usize = 1024;

/// The bytes that the bodies of one endpoint may take at once, from their arrival until their events are settled.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    pieces: usize,
    patience: Duration,
}

/// A body's part of the budget, given back when it is dropped.
pub(crate) type Room = Option<OwnedSemaphorePermit>;

/// There was no room for a body for as long as its sender can be kept waiting.
#[derive(Debug, thiserror::Error)]
#[error("no room for the body")]
struct NoRoom;

impl Budget {
    /// So many bytes, and how long a body may wait for its part of them.
    pub(crate) fn new(bytes: usize, patience: Duration) -> Self {
        let pieces = (bytes / PIECE).clamp(1, Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(pieces)), pieces, patience }
    }

    /// Reads a body, whole, once there is room for it. Its part of the budget is that of its announced length, and taken
    /// when more of it has come than is not counted: two halves of bodies can then never wait for each other.
    pub(crate) async fn collect<B>(
        &self,
        headers: &HeaderMap,
        body: B,
        limits: Limits,
    ) -> Result<(Bytes, Room), Problem>
    where
        B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
    {
        // Wrappers around a body do not always pass its length on.
        if let Err(error) = check_length(headers, limits) {
            drop_rest(headers, body, limits);
            return Err(error.problem());
        }
        let header = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        let announced = body.size_hint().upper().or(header).and_then(|len| usize::try_from(len).ok());
        let len = announced.unwrap_or(usize::MAX).min(limits.max_len);
        let held = Arc::new(Mutex::new(None));
        let mut counted = Counted {
            body: Box::pin(body),
            room: PollSemaphore::new(self.room.clone()),
            pieces: u32::try_from(len.div_ceil(PIECE).min(self.pieces)).unwrap_or(u32::MAX),
            patience: self.patience,
            came: 0,
            waiting: None,
            held: held.clone(),
        };
        let body = match collect(&mut counted, limits).await {
            Ok(body) => body,
            Err(error) => {
                // A sender that writes all of its body before it reads the answer gets the answer.
                drop_rest(headers, counted.body, limits);
                return Err(match error {
                    BodyError::Broken(error) if error.is::<NoRoom>() => no_room(),
                    error => error.problem(),
                });
            }
        };
        let mut room = held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(room) = &mut room {
            // The excess of a body of unknown length.
            drop(room.split(room.num_permits().saturating_sub(body.len().div_ceil(PIECE))));
        }
        Ok((body, room))
    }
}

fn no_room() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "The bodies of other requests take all the memory there is for them",
    )
    .with_detail("Send it again; the budget is Webhook::with_body_budget.")
    .with_retry_after(Duration::from_secs(1))
}

/// A body that is passed on once there is room for it.
struct Counted<B: Body> {
    body: Pin<Box<B>>,
    room: PollSemaphore,
    pieces: u32,
    patience: Duration,
    came: usize,
    /// The frame that needs the room, and how long it waits.
    waiting: Option<Waiting<B::Data>>,
    held: Arc<Mutex<Room>>,
}

type Waiting<D> = (Frame<D>, Pin<Box<Sleep>>);

// Nothing in it is pinned in place.
impl<B: Body> Unpin for Counted<B> {}

impl<B> Body for Counted<B>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.get_mut();
        if this.waiting.is_none() {
            let Some(frame) = ready!(this.body.as_mut().poll_frame(cx)) else { return Poll::Ready(None) };
            let frame = frame.map_err(Into::into)?;
            this.came += frame.data_ref().map_or(0, Buf::remaining);
            let has_room = this.held.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if has_room || this.came <= UNCOUNTED {
                return Poll::Ready(Some(Ok(frame)));
            }
            this.waiting = Some((frame, Box::pin(tokio::time::sleep(this.patience))));
        }
        let Some((_, patience)) = &mut this.waiting else { return Poll::Ready(None) };
        match this.room.poll_acquire_many(cx, this.pieces) {
            Poll::Ready(room) => {
                *this.held.lock().unwrap_or_else(PoisonError::into_inner) = room;
                Poll::Ready(this.waiting.take().map(|(frame, _)| Ok(frame)))
            }
            Poll::Pending => {
                ready!(patience.as_mut().poll(cx));
                Poll::Ready(Some(Err(NoRoom.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // While a frame waits, it is not in the rest any more; only the length at the start is asked for.
        match self.waiting {
            Some(_) => SizeHint::new(),
            None => self.body.size_hint(),
        }
    }
}
