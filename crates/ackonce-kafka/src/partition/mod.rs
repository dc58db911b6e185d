//! One assigned partition: its queue, its limits, its deliveries, the digests of its records.

mod assignment;
mod budget;
mod delivery;
mod digest;
mod lane;
mod mark;
mod origin;
mod watch;

pub(crate) use self::assignment::Assignment;
pub(crate) use self::budget::{Budget, Limit, Limits};
pub(crate) use self::delivery::{Failed, PartitionDelivery, done};
pub(crate) use self::digest::RecordDigest;
pub(crate) use self::lane::Lane;
pub(crate) use self::mark::CommitMark;
pub(crate) use self::origin::{Due, Origin};
