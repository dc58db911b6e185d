//! The kinds of faults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StoreKind;
use crate::broker::BrokerKind;
use crate::plan::Mode;

/// A kind of fault. The command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultKind {
    /// A worker is killed at a random moment
    Kill,
    /// A worker kills itself at a named point: before a claim, before and after the effect, before the ack
    Crash,
    /// A worker is stopped for longer than its lease
    Pause,
    /// A handler takes twice the lease
    SlowHandler,
    /// A handler never ends, before or after its effect, and is cancelled by its time-out
    StuckHandler,
    /// A handler blocks its thread for twice the lease
    BlockedThread,
    /// The clock of the workers, or of PostgreSQL, jumps by seconds, an hour or a day, and back (libfaketime)
    Clock,
    /// The store's server is killed and started again
    StoreKill,
    /// The store's server is stopped for up to three seconds
    StorePause,
    /// The store's connections are closed by its server
    StoreConnections,
    /// Redis forgets its scripts
    StoreScripts,
    /// Another process holds the write lock of the SQLite file
    StoreLock,
    /// A reply of the store is lost with its connection
    StoreReply,
    /// Nothing reaches the store, or nothing comes back, and nobody is told
    StoreSilence,
    /// Requests to the store arrive up to two seconds late
    StoreLate,
    /// The disk of the SQLite file is full, Redis is at maxmemory, PostgreSQL is read-only, as hosts make it then
    StoreFull,
    /// The disk fails to flush: EIO for the processes that write the store (strace)
    StoreFsync,
    /// Measured: Redis evicts records to make room
    StoreEviction,
    /// Measured: a backup of the SQLite file, one to three seconds old, is restored
    StoreRestore,
    /// Measured: a Redis replica becomes primary that is up to a second behind
    StoreFailover,
    /// The broker is killed and started again
    BrokerKill,
    /// The broker is stopped for up to three seconds
    BrokerPause,
    /// RabbitMQ closes all connections
    BrokerConnections,
    /// A guest joins the Kafka group and leaves it in good order
    Rebalance,
    /// A handler takes longer than max.poll.interval.ms
    PollOverrun,
    /// A handler takes longer than RabbitMQ's consumer_timeout
    AckTimeout,
    /// The queue or topic is deleted and created again; the producer sends everything again
    Recreate,
    /// Kafka records whose headers are not text, with and without an ID
    Unreadable,
    /// The records of the topic are a day old
    Lag,
    /// Measured: the window, three seconds, is shorter than the time between a message and its repeat
    ShortWindow,
}

impl FaultKind {
    /// True if a run of this store, broker and class can meet it.
    pub(crate) fn suits(self, store: StoreKind, broker: BrokerKind, mode: Mode) -> bool {
        let on_server = store != StoreKind::Sqlite;
        match self {
            Self::Kill | Self::Crash | Self::Pause => true,
            Self::SlowHandler | Self::BlockedThread | Self::Clock | Self::ShortWindow => {
                mode.class().is_some()
            }
            // A transaction of SQLite cannot be cancelled: its thread is in it.
            Self::StuckHandler => mode.class().is_some() && (on_server || mode != Mode::Inbox),
            Self::StoreLock | Self::StoreRestore => !on_server,
            Self::StoreScripts | Self::StoreEviction | Self::StoreFailover => store == StoreKind::Redis,
            Self::StoreFull | Self::StoreFsync => mode.class().is_some(),
            Self::StoreKill | Self::StorePause | Self::StoreConnections => on_server,
            Self::StoreReply | Self::StoreSilence | Self::StoreLate => on_server,
            Self::BrokerKill | Self::BrokerPause | Self::Recreate => broker != BrokerKind::Feed,
            Self::BrokerConnections => broker == BrokerKind::Rabbitmq,
            Self::AckTimeout => broker == BrokerKind::Rabbitmq && (on_server || mode != Mode::Inbox),
            Self::PollOverrun => broker == BrokerKind::Kafka && (on_server || mode != Mode::Inbox),
            Self::Rebalance | Self::Unreadable | Self::Lag => broker == BrokerKind::Kafka,
        }
    }

    /// True for the faults of a run that names none: they need no tools, and their rates leave time for the others.
    pub(crate) fn is_usual(self) -> bool {
        let of_workers = matches!(self, Self::Kill | Self::Crash | Self::Pause);
        let of_stores = matches!(
            self,
            Self::StoreKill
                | Self::StorePause
                | Self::StoreConnections
                | Self::StoreScripts
                | Self::StoreLock
                | Self::StoreReply
                | Self::StoreSilence
                | Self::StoreLate
        );
        let of_brokers =
            matches!(self, Self::BrokerKill | Self::BrokerPause | Self::BrokerConnections | Self::Rebalance);
        of_workers || of_stores || of_brokers
    }

    /// True if the promise does not cover it: its losses are counted, and break nothing.
    pub(crate) fn is_measured(self) -> bool {
        matches!(self, Self::StoreEviction | Self::StoreRestore | Self::StoreFailover | Self::ShortWindow)
    }

    /// The time that a handler takes because of it.
    pub(crate) fn of_handlers(self, lease: Duration) -> Option<Duration> {
        match self {
            Self::SlowHandler | Self::BlockedThread | Self::PollOverrun => Some(lease * 2),
            // Its time-out; it would take for ever.
            Self::StuckHandler => Some(lease * 3),
            Self::AckTimeout => Some(lease * 4),
            _ => None,
        }
    }

    /// True if the nemesis strikes with it, now and then. The others belong to the workers, or to the whole run.
    pub(super) fn strikes(self) -> bool {
        let of_workers = matches!(self, Self::Kill | Self::Crash | Self::Pause);
        let of_runs = matches!(self, Self::Lag | Self::ShortWindow);
        !of_workers && !of_runs && self.of_handlers(Duration::ZERO).is_none()
    }

    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }
}
