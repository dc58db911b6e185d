//! The places of a message that its entity and version are read from.

use super::version::{EntityVersion, VersionError};
use crate::failure::Failure;
use crate::ids::{IdSource, Identify, MessageIds};

/// The order of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VersionOrder {
    /// Whole numbers of 128 bits: `9` before `10`. The default.
    #[default]
    Integer,
    /// Moments of RFC 3339: [`EntityVersion::rfc3339`].
    Rfc3339,
    /// Bytes: `10` before `9`.
    Bytes,
}

/// The places of a message that its entity and version are read from, for messages of a broker.
///
/// ```
/// use ackonce::{IdSource, VersionOrder, Versions};
///
/// // {"account": "7", "changed": "2026-11-30T08:00:00Z"}
/// let versions = Versions::new(IdSource::Json("/account".into()), IdSource::Json("/changed".into()))
///     .with_order(VersionOrder::Rfc3339);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    entity: MessageIds,
    version: MessageIds,
    order: VersionOrder,
}

impl Versions {
    /// These places of entity and version.
    #[must_use]
    pub fn new(entity: IdSource, version: IdSource) -> Self {
        let [entity, version] = [entity, version].map(|source| MessageIds::first_of([source]));
        Self { entity, version, order: VersionOrder::default() }
    }

    /// The same, with another order of versions.
    #[must_use]
    pub fn with_order(self, order: VersionOrder) -> Self {
        Self { order, ..self }
    }

    /// The entity and the version of this message.
    ///
    /// # Errors
    /// [`Failure::Permanent`]: one of them is missing, or cannot be read. The message will never have it.
    pub fn find(&self, message: &impl Identify) -> Result<EntityVersion, Failure> {
        let found = |part, ids: &MessageIds| {
            ids.find(message).map_err(|error| Failure::permanent(format!("{part} of the message: {error}")))
        };
        let (entity, version) = (found("the entity", &self.entity)?, found("the version", &self.version)?);
        let text = String::from_utf8_lossy(&version);
        let made = match self.order {
            VersionOrder::Bytes => EntityVersion::bytes(entity, version),
            VersionOrder::Rfc3339 => EntityVersion::rfc3339(entity, &text),
            VersionOrder::Integer => match text.parse::<i128>() {
                Ok(number) => Ok(EntityVersion::integer(entity, number)),
                Err(_) => Err(VersionError::NotInteger(text.into_owned())),
            },
        };
        made.map_err(Failure::permanent)
    }
}
