//! One channel with one consumer: its deliveries, and the acks that it owes the broker.

mod acks;
mod delivery;
mod generation;
mod hand;
mod progress;

pub(crate) use self::acks::acknowledge;
pub(crate) use self::delivery::{ChannelDelivery, HandedBack, done};
pub(crate) use self::generation::Generation;
pub(crate) use self::hand::Hand;
pub(crate) use self::progress::Progress;
