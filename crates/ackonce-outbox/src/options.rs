//! The settings of a relay.

use std::time::Duration;

use ackonce::{Backoff, Error, ErrorKind, Result};

/// The treatment of later messages of a key whose message is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnParked {
    /// They are parked behind it, and go out after it, in order.
    #[default]
    Wait,
    /// They pass it: the order of that key is given up.
    Pass,
}

/// The settings of a relay.
///
/// ```
/// use std::time::Duration;
/// use ackonce_outbox::{OnParked, OutboxOptions};
///
/// let mut options = OutboxOptions::default();
/// options.on_parked = OnParked::Pass;
/// options.publish_timeout = Duration::from_secs(10);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutboxOptions {
    /// The length of a lease on a range of keys (default 10 s). The ranges of a killed relay stand still for so long.
    pub lease: Duration,
    /// The most rows in memory (default 2048).
    pub in_flight: usize,
    /// The most bytes of payload that one read takes, and one row (default 8 MiB).
    pub read_bytes: usize,
    /// The attempts to publish a row that fails by itself, before it is parked (default 15). An outage of the broker counts
    /// none. They are counted in memory, so a relay that starts again begins at one.
    pub attempts: u32,
    /// The waits between them (default 250 ms, doubled up to 2 minutes).
    pub backoff: Backoff,
    /// The treatment of later messages of a key whose message is parked (default [`OnParked::Wait`]).
    pub on_parked: OnParked,
    /// The longest wait for a publisher's answer to one row (default 60 s); then the attempt has failed.
    pub publish_timeout: Duration,
    /// The interval at which the table is read without a notification (default 1 s).
    pub poll: Duration,
    /// The time that rows in flight have to be confirmed at a shutdown (default 30 s).
    pub shutdown_timeout: Duration,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            in_flight: 2048,
            read_bytes: 8 << 20,
            attempts: 15,
            backoff: Backoff::default(),
            on_parked: OnParked::Wait,
            publish_timeout: Duration::from_secs(60),
            poll: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

impl OutboxOptions {
    /// Refuses settings that cannot be honoured, as [`Outbox::run`](crate::Outbox::run) does.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config), naming the setting.
    pub fn check(&self) -> Result<()> {
        self.backoff.check()?;
        let zero = [
            ("lease", self.lease < Duration::from_millis(100)),
            ("in_flight", self.in_flight == 0),
            ("read_bytes", self.read_bytes == 0),
            ("attempts", self.attempts == 0),
            ("publish_timeout", self.publish_timeout.is_zero()),
            ("poll", self.poll < Duration::from_millis(1)),
        ];
        let day = Duration::from_secs(24 * 3600);
        if let Some((name, _)) =
            [("lease", self.lease), ("poll", self.poll)].into_iter().find(|(_, length)| *length > day)
        {
            let message = format!("outbox: OutboxOptions::{name} is over a day: rows would wait that long");
            return Err(Error::new(ErrorKind::Config, message));
        }
        match zero.into_iter().find(|(_, refused)| *refused) {
            Some((name, _)) => {
                let message = format!("outbox: OutboxOptions::{name} is zero or too small");
                Err(Error::new(ErrorKind::Config, message))
            }
            None => Ok(()),
        }
    }
}
