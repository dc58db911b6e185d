//! What runs for a message, and what it answers.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use crate::{BoxError, Class, Context, Error, Settled, chain};

/// One message to run, with its context.
#[derive(Debug, Clone)]
pub struct Item<M> {
    /// What the handler is told about this run.
    pub cx: Context,
    /// The message.
    pub message: M,
}

/// What a handler answers for one item.
pub type Answer = Result<Effect, Failure>;

/// What runs for a message. Async closures `|cx: Context, message: M| async { Ok(()) }` are handlers of
/// class [`Leased`](Class::Leased); [`Keyed`], [`AtMostOnce`] and the inboxes of the SQL stores choose another
/// class, [`Batch`] takes many messages at once.
///
/// A handler that panics, is cancelled or loses its connection leaves an *unknown* outcome, not a failed
/// one; [`OnUnknown`](crate::OnUnknown) says what then.
#[async_trait]
pub trait Handler<M>: Send + Sync + 'static {
    /// What is promised of its effects.
    fn class(&self) -> Class;

    /// One answer per item, in order.
    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer>;

    /// The answer to one item, the same as [`handle`](Self::handle) would give; for those who have a shorter way to it.
    async fn handle_one(&self, item: Item<M>) -> Answer
    where
        M: Send + 'async_trait,
    {
        self.handle(vec![item]).await.pop().unwrap_or_else(no_answer)
    }
}

/// A handler that gives fewer answers than it was given items leaves an unknown outcome for the rest.
pub(crate) fn no_answer() -> Answer {
    Err(Failure::unknown("the batch handler gave no answer for this message"))
}

#[async_trait]
impl<M, F, Fut, T> Handler<M> for F
where
    M: Send + 'static,
    F: Fn(Context, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send,
    T: Into<Effect>,
{
    fn class(&self) -> Class {
        Class::Leased
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let runs = items.into_iter().map(|item| {
            let run = self(item.cx, item.message);
            async { run.await.map(Into::into) }
        });
        join_all(runs).await
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        self(item.cx, item.message).await.map(Into::into)
    }
}

/// A handler that passes the idempotency key (or the fence) on to a target that honours it: class
/// [`Keyed`](Class::Keyed).
///
/// ```
/// use ackonce::{Context, Failure, Keyed};
/// # async fn charge(_card: &str, _key: String) -> Result<(), std::io::Error> { Ok(()) }
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// is_handler(Keyed(|cx: Context, card: String| async move {
///     charge(&card, cx.idempotency_key("charge")).await?;
///     Ok::<_, Failure>(())
/// }));
/// ```
#[derive(Debug, Clone)]
pub struct Keyed<H>(pub H);

/// A handler for effects that are better lost than repeated: the record is written first. Class
/// [`AtMostOnce`](Class::AtMostOnce). A failure is reported and not retried.
#[derive(Debug, Clone)]
pub struct AtMostOnce<H>(pub H);

macro_rules! class {
    ($t:ident) => {
        #[async_trait]
        impl<M: Send + 'static, H: Handler<M>> Handler<M> for $t<H> {
            fn class(&self) -> Class {
                Class::$t
            }
            async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
                self.0.handle(items).await
            }
            async fn handle_one(&self, item: Item<M>) -> Answer {
                self.0.handle_one(item).await
            }
        }
    };
}
class!(Keyed);
class!(AtMostOnce);

/// A handler of many messages at once, for `run_batch`: a closure from `Vec<Item<M>>` to one [`Answer`]
/// each, in order. A missing answer counts as an unknown outcome.
#[derive(Debug, Clone)]
pub struct Batch<F>(pub F);

#[async_trait]
impl<M, F, Fut> Handler<M> for Batch<F>
where
    M: Send + 'static,
    F: Fn(Vec<Item<M>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<Answer>> + Send,
{
    fn class(&self) -> Class {
        Class::Leased
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        self.0(items).await
    }
}

/// A handler's success.
#[derive(Debug, Clone)]
pub struct Effect(pub(crate) EffectKind);

#[derive(Debug, Clone)]
pub(crate) enum EffectKind {
    Done(Option<Bytes>),
    Recorded,
}

impl Effect {
    /// The effect happened; the runner records it, with what to replay if anything.
    #[must_use]
    pub fn done(outcome: Option<Bytes>) -> Self {
        Self(EffectKind::Done(outcome))
    }

    /// What to replay, for those who record it themselves.
    #[must_use]
    pub fn into_outcome(self) -> Option<Bytes> {
        match self.0 {
            EffectKind::Done(outcome) => outcome,
            EffectKind::Recorded => None,
        }
    }

    /// The record was committed together with the effect; for stores that offer an inbox. `None` unless
    /// the settlement inside that transaction answered [`Settled::Yes`].
    #[must_use]
    pub fn recorded(settled: Settled) -> Option<Self> {
        (settled == Settled::Yes).then_some(Self(EffectKind::Recorded))
    }
}

impl From<()> for Effect {
    fn from((): ()) -> Self {
        Self::done(None)
    }
}

impl From<Bytes> for Effect {
    fn from(outcome: Bytes) -> Self {
        Self::done(Some(outcome))
    }
}

impl From<Option<Bytes>> for Effect {
    fn from(outcome: Option<Bytes>) -> Self {
        Self::done(outcome)
    }
}

/// Why a handler did not succeed, by what should happen next. Any error converts into
/// [`Retry`](Self::Retry) with `?`.
#[derive(Debug)]
pub enum Failure {
    /// Run again after a back-off, until the attempts are used up; then bury.
    Retry(BoxError),
    /// It will never succeed: bury it now.
    Permanent(BoxError),
    /// No fault of the message (a dependency is down): run again after a back-off, as often as it takes.
    Infrastructure(BoxError),
    /// The effect may have happened: [`OnUnknown`](crate::OnUnknown) decides.
    Unknown(BoxError),
    /// The run was dropped midway and may have left work behind: the claim is left to its lease, then as
    /// [`Unknown`](Self::Unknown). The runner answers this for a handler past its lease or its time.
    Cancelled(BoxError),
    /// The claim was taken over and the effect rolled back: ask the store again. For inboxes.
    Fenced,
    /// The store failed in the handler's own transaction: ask it again what became of it. For inboxes.
    Store(Error),
}

impl Failure {
    /// [`Permanent`](Self::Permanent) with this reason.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self::Permanent(error.into())
    }

    /// [`Infrastructure`](Self::Infrastructure) with this reason.
    pub fn infrastructure(error: impl Into<BoxError>) -> Self {
        Self::Infrastructure(error.into())
    }

    /// [`Unknown`](Self::Unknown) with this reason.
    pub fn unknown(error: impl Into<BoxError>) -> Self {
        Self::Unknown(error.into())
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

/// With the causes of its reason: a failure is no error itself, and has no source.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(e)
            | Self::Permanent(e)
            | Self::Infrastructure(e)
            | Self::Unknown(e)
            | Self::Cancelled(e) => chain(&**e).fmt(f),
            Self::Fenced => f.write_str("the claim was taken over"),
            Self::Store(e) => chain(e).fmt(f),
        }
    }
}
