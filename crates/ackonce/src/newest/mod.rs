//! Newest wins: an older version of an entity than one that took effect is not run.

mod entity;
mod highest;
mod version;
mod versions;

use async_trait::async_trait;
use futures_util::FutureExt;

use crate::class::Class;
use crate::context::Context;
use crate::failure::Failure;
use crate::handler::{Answer, Effect, Handler, Item, no_answer};

pub use self::version::{EntityVersion, MAX_VERSION_LEN, VersionError};
pub use self::versions::{VersionOrder, Versions};

use self::entity::{Entered, Entity, enter};

/// A handler of messages that each bring a version of an entity: a version that is older than one that took effect is
/// not run but settled as *stale*. The entity ends at the newest, in any order of its versions.
///
/// ```
/// use ackonce::{Context, EntityVersion, Failure, Newest};
/// # fn is_handler<M>(_: impl ackonce::Handler<M>) {}
/// #[derive(Clone)]
/// struct Address { customer: String, version: i64, street: String }
///
/// is_handler(Newest::new(
///     |address: &Address| Ok(EntityVersion::integer(address.customer.clone(), address.version)),
///     |_cx: Context, address: Address| async move {
///         println!("{} lives in {} now", address.customer, address.street);
///         Ok::<(), Failure>(())
///     },
/// ));
/// ```
///
/// Messages of a broker say it by places ([`Versions`]): `Newest::new(move |message: &KafkaMessage| versions.find(message), …)`.
///
/// # How it works
/// The entity has a record of its own, in the scope `SCOPE/~newest`. A run claims it, so that the versions of one entity
/// run one after another, compares the version with the highest that took effect, and saves its own there before the
/// message is recorded. A crash in between is no gap: the redelivery finds its own version and is settled. A version that
/// meets another one in hand fails as [`Failure::Infrastructure`]: it comes again after a back-off and holds no slot.
/// Two messages of one version are one change: the first takes effect, the other is stale, and a warning says so.
/// A version that failed or was buried has not taken effect: an older one may run after it.
///
/// A message that an operator redrives or forgets runs again, unless a newer version took effect meanwhile: then it is
/// stale. The record of its entity is another one and stays as it is.
///
/// # Cost
/// Two trips beside the message's own two: the claim of its entity and its release. They are shared with other messages.
/// A record for each entity, for the window from its last version on.
///
/// # By class
/// [`Leased`](Class::Leased) and [`Keyed`](Class::Keyed): as far as the claim of the entity fences its worker off. A worker that
/// stalls past its lease between the check and its effect may write an older version after a newer one; a target that
/// compares [`Context::entity_fence`] or the version refuses it. [`Inbox`](Class::Inbox): the version commits with the
/// effect, so that there is no such gap. [`AtMostOnce`](Class::AtMostOnce) is refused when the runner is built: a version that
/// has to wait would be lost.
///
/// A window bounds it, as all: after [`Settings::window`](crate::Settings::window) without a version, the entity's
/// highest is forgotten, and an older version that is redelivered then runs.
#[derive(Debug, Clone)]
pub struct Newest<F, H> {
    version_of: F,
    handler: H,
}

impl<F, H> Newest<F, H> {
    /// `handler`, with the entity and version of each message. An error of `version_of` is the message's failure.
    pub fn new<M>(version_of: F, handler: H) -> Self
    where
        F: Fn(&M) -> Result<EntityVersion, Failure>,
        H: Handler<M>,
    {
        Self { version_of, handler }
    }
}

#[async_trait]
impl<M, F, H> Handler<M> for Newest<F, H>
where
    M: Send + 'static,
    F: Fn(&M) -> Result<EntityVersion, Failure> + Send + Sync + 'static,
    H: Handler<M>,
{
    fn class(&self) -> Class {
        self.handler.class()
    }

    fn refusal(&self) -> Option<String> {
        match self.handler.class() {
            Class::AtMostOnce => Some(
                "Newest around AtMostOnce: a version that waits for another one would be lost; choose another class".into(),
            ),
            Class::Leased | Class::Keyed | Class::Inbox => self.handler.refusal(),
        }
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        // Their claims share a trip.
        let entered = futures_util::future::join_all(items.into_iter().map(|item| self.enter(item))).await;
        let (mut answers, mut entities, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        for (n, entered) in entered.into_iter().enumerate() {
            match entered {
                Ok((item, entity)) => {
                    fresh.push(item);
                    entities.push((n, entity));
                    answers.push(None);
                }
                Err(answer) => answers.push(Some(answer)),
            }
        }
        if !fresh.is_empty() {
            let ran = self.run(fresh, &entities).await;
            let rest: fn() -> Answer = if ran.is_some() { no_answer } else { || Err(lost()) };
            let ran = ran.unwrap_or_default().into_iter().chain(std::iter::repeat_with(rest));
            let left = entities.into_iter().zip(ran);
            let left = left.map(|((n, entity), answer)| async move { (n, entity.leave(answer).await) });
            for (n, answer) in futures_util::future::join_all(left).await {
                answers[n] = Some(answer);
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(no_answer)).collect()
    }

    async fn handle_one(&self, item: Item<M>) -> Answer {
        let (item, entity) = match self.enter(item).await {
            Ok(entered) => entered,
            Err(answer) => return answer,
        };
        let answer = tokio::select! {
            biased;
            answer = self.handler.handle_one(item) => answer,
            () = entity.lost() => Err(lost()),
        };
        entity.leave(answer).await
    }
}

impl<F, H> Newest<F, H> {
    /// The answers of a batch; `None` once the claim of an entity is lost.
    async fn run<M>(&self, items: Vec<Item<M>>, entities: &[(usize, Entity)]) -> Option<Vec<Answer>>
    where
        M: Send + 'static,
        H: Handler<M>,
    {
        let lost = entities.iter().map(|(_, entity)| Box::pin(entity.lost()));
        let mut any_lost = futures_util::future::select_all(lost);
        // The claim of one may have been lost while that of another was waited for: then nothing begins.
        if (&mut any_lost).now_or_never().is_some() {
            return None;
        }
        tokio::select! {
            biased;
            ran = self.handler.handle(items) => Some(ran),
            _ = any_lost => None,
        }
    }

    /// The item to run and its entity, or the answer to one that does not run.
    async fn enter<M>(&self, Item { cx, message }: Item<M>) -> Result<(Item<M>, Entity), Answer>
    where
        F: Fn(&M) -> Result<EntityVersion, Failure>,
    {
        let version = (self.version_of)(&message).map_err(Err)?;
        match enter(&cx, version).await.map_err(Err)? {
            Entered::Newest(entity) => Ok((Item { cx: entity.context(cx), message }, entity)),
            Entered::Stale => Err(Ok(Effect::done(None))),
        }
    }
}

fn lost() -> Failure {
    Failure::Cancelled("the claim of its entity was lost while the handler ran; it was cancelled".into())
}

impl Context {
    /// Under [`Newest`], the fence of the claim of this message's entity: it grows with every version that runs, so
    /// that a target which refuses a fence below the highest it has seen takes no older version after a newer one.
    #[must_use]
    pub fn entity_fence(&self) -> Option<u64> {
        self.entity().map(|entity| entity.fence)
    }
}
