//! Handlers, and their answers.

use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use crate::class::Class;
use crate::context::Context;
use crate::failure::Failure;
use crate::settle::Settled;

/// One message to run, with its context.
#[derive(Debug, Clone)]
pub struct Item<M> {
    /// The context of this run.
    pub cx: Context,
    /// The message.
    pub message: M,
}

/// A handler's answer for one item.
pub type Answer = Result<Effect, Failure>;

/// The code that runs for a message. Async closures `|cx: Context, message: M| async { Ok(()) }` are handlers of
/// class [`Leased`](Class::Leased); [`Keyed`], [`AtMostOnce`] and the inboxes of the SQL stores choose another
/// class, [`Batch`] takes many messages at once.
///
/// A handler that panics, is cancelled or loses its connection leaves an *unknown* outcome, not a failed
/// one; [`OnUnknown`](crate::OnUnknown) decides then.
#[async_trait]
pub trait Handler<M>: Send + Sync + 'static {
    /// The promise about its effects.
    fn class(&self) -> Class;

    /// The reason for which a runner refuses this handler when it is built: settings in it that cannot be honoured.
    fn refusal(&self) -> Option<String> {
        None
    }

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
impl<M, F, Fut> Handler<M> for F
where
    M: Send + 'static,
    F: Fn(Context, M) -> Fut + Send + Sync + 'static,
    Fut: Future + Send,
    Fut::Output: Reply,
{
    fn class(&self) -> Class {
        Class::Leased
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let runs = items.into_iter().map(|item| {
            let run = self(item.cx, item.message);
            async { run.await.into_answer() }
        });
        join_all(runs).await
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        self(item.cx, item.message).await.into_answer()
    }
}

/// The result of a handler that is a function: `Result<_, Failure>` alone. A second implementation would leave
/// the error type of every closure to be written out.
#[diagnostic::on_unimplemented(
    message = "a handler returns `Result<_, Failure>`, not `{Self}`",
    label = "this handler returns `{Self}`",
    note = "`?` turns any error into a `Failure`; a function with an error type of its own is a handler as \
            `MapErr(function, Failure::from)`, or with a function of yours that says which errors are permanent"
)]
pub trait Reply {
    /// The same as an [`Answer`].
    fn into_answer(self) -> Answer;
}

impl<T: Into<Effect>> Reply for Result<T, Failure> {
    fn into_answer(self) -> Answer {
        self.map(Into::into)
    }
}

/// A function with an error type of its own as a handler, and the function that sorts its errors: the first
/// returns `Result<_, E>`, the second makes a [`Failure`] of an `E`.
///
/// Handed over by itself, such a function is told to be no handler:
/// ```compile_fail,E0277
/// # use ackonce::Context;
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// async fn charge(_cx: Context, _order: String) -> anyhow::Result<()> {
///     Ok(())
/// }
/// is_handler(charge);
/// ```
///
/// [`Failure::from`] does for any error, all of which are then retried:
///
/// ```
/// use ackonce::{Context, Failure, Keyed, MapErr};
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// async fn charge(_cx: Context, _order: String) -> anyhow::Result<()> {
///     anyhow::bail!("the bank does not answer")
/// }
/// is_handler(MapErr(charge, Failure::from));
/// is_handler(Keyed(MapErr(charge, Failure::from)));
/// ```
///
/// An application's error chooses, and `?` in the handler works as in any function:
///
/// ```
/// use ackonce::{Context, Failure, MapErr};
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// #[derive(Debug, thiserror::Error)]
/// enum ChargeError {
///     #[error("the card was declined")]
///     Declined,
///     #[error("the bank is away")]
///     Bank(#[from] std::io::Error),
/// }
///
/// impl ChargeError {
///     fn into_failure(self) -> Failure {
///         match self {
///             Self::Declined => Failure::permanent(self),
///             Self::Bank(_) => Failure::infrastructure(self),
///         }
///     }
/// }
///
/// # async fn ask_the_bank(_: &str) -> Result<bool, std::io::Error> { Ok(true) }
/// async fn charge(_cx: Context, card: String) -> Result<(), ChargeError> {
///     match ask_the_bank(&card).await? {
///         true => Ok(()),
///         false => Err(ChargeError::Declined),
///     }
/// }
/// is_handler(MapErr(charge, ChargeError::into_failure));
/// ```
///
/// For handlers that use `?` into [`Failure`] itself, inboxes and batches among them, see
/// [`Settings::with_failure_kind`](crate::Settings::with_failure_kind).
#[derive(Debug, Clone)]
pub struct MapErr<F, S>(pub F, pub S);

#[async_trait]
impl<M, F, S, Fut, T, E> Handler<M> for MapErr<F, S>
where
    M: Send + 'static,
    F: Fn(Context, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Into<Effect>,
    S: Fn(E) -> Failure + Send + Sync + 'static,
{
    fn class(&self) -> Class {
        Class::Leased
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let runs = items.into_iter().map(|item| {
            let run = self.0(item.cx, item.message);
            async { run.await.map(Into::into).map_err(&self.1) }
        });
        join_all(runs).await
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        self.0(item.cx, item.message).await.map(Into::into).map_err(&self.1)
    }
}

/// A handler that passes the idempotency key (or the fence) on to a target that honours it: class
/// [`Keyed`](Class::Keyed).
///
/// ```
/// use ackonce::{Context, Keyed};
/// # async fn charge(_card: &str, _key: String) -> Result<(), std::io::Error> { Ok(()) }
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// is_handler(Keyed(|cx: Context, card: String| async move {
///     charge(&card, cx.idempotency_key("charge")).await?;
///     Ok(())
/// }));
/// ```
#[derive(Debug, Clone)]
pub struct Keyed<H>(pub H);

/// A handler for effects that are better lost than repeated: the record is written first. Class
/// [`AtMostOnce`](Class::AtMostOnce). A failure is reported and not retried.
///
/// ```
/// use ackonce::{AtMostOnce, Context, Failure};
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
///
/// // Nobody wants the same text message twice; a missing one does no harm.
/// is_handler(AtMostOnce(|_cx: Context, number: String| async move {
///     println!("your parcel is on its way, {number}");
///     Ok::<(), Failure>(())
/// }));
/// ```
#[derive(Debug, Clone)]
pub struct AtMostOnce<H>(pub H);

macro_rules! class {
    ($t:ident) => {
        #[async_trait]
        impl<M: Send + 'static, H: Handler<M>> Handler<M> for $t<H> {
            fn class(&self) -> Class {
                Class::$t
            }
            fn refusal(&self) -> Option<String> {
                self.0.refusal()
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
/// each, in order. A missing answer counts as an unknown outcome. `Batch(MapErr(closure, sort))` takes a closure whose
/// results have an error type of their own.
///
/// ```
/// use ackonce::{Answer, Batch, Effect, Failure, Item};
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// # async fn insert(_rows: &[&String]) -> Result<(), std::io::Error> { Ok(()) }
///
/// // One INSERT for all of them; each message gets an answer of its own.
/// is_handler(Batch(|items: Vec<Item<String>>| async move {
///     let rows: Vec<_> = items.iter().map(|item| &item.message).collect();
///     let inserted = insert(&rows).await;
///     let answer = |_| match &inserted {
///         Ok(()) => Ok(Effect::done(None)),
///         Err(error) => Err(Failure::infrastructure(error.to_string())),
///     };
///     items.iter().map(answer).collect::<Vec<Answer>>()
/// }));
/// ```
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

#[async_trait]
impl<M, F, S, Fut, T, E> Handler<M> for Batch<MapErr<F, S>>
where
    M: Send + 'static,
    F: Fn(Vec<Item<M>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<Result<T, E>>> + Send,
    T: Into<Effect>,
    S: Fn(E) -> Failure + Send + Sync + 'static,
{
    fn class(&self) -> Class {
        Class::Leased
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let MapErr(run, sort) = &self.0;
        run(items).await.into_iter().map(|answer| answer.map(Into::into).map_err(sort)).collect()
    }
}

/// A handler's success.
///
/// ```
/// use ackonce::{Context, Failure};
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// use bytes::Bytes;
///
/// // `()` is an effect without an outcome; bytes are replayed to a caller that sends the message again.
/// is_handler(|_cx: Context, _order: String| async { Ok::<(), Failure>(()) });
/// is_handler(|_cx: Context, _order: String| async { Ok::<Bytes, Failure>(Bytes::from_static(b"receipt 17")) });
/// ```
#[derive(Debug, Clone)]
pub struct Effect(pub(crate) EffectKind);

#[derive(Debug, Clone)]
pub(crate) enum EffectKind {
    Done(Option<Bytes>),
    Recorded,
}

impl Effect {
    /// The effect happened; the runner records it, with an outcome to replay if there is one.
    #[must_use]
    pub fn done(outcome: Option<Bytes>) -> Self {
        Self(EffectKind::Done(outcome))
    }

    /// The outcome to replay, for callers that record it themselves.
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
