//! Settings of a console.

use std::fmt;
use std::sync::Arc;

use ackonce::Activity;

use crate::access::AccessToken;
use crate::snapshot::ProgramView;

/// Settings of a [`Console`](crate::Console).
///
/// The default reads only, asks for no token, and answers to `localhost` and loopback addresses alone.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConsoleOptions {
    /// Lets people redrive and forget records. Default: [`Writes::Refused`].
    pub writes: Writes,
    /// The token to ask for; set it wherever other hosts or other users of this host reach the console. Default: none.
    pub token: Option<AccessToken>,
    /// Names in `Host` that are the console's, beside `localhost` and loopback addresses: `ops.example.com`. Without a
    /// token all others are refused, so that no web site can point its own name at this address (DNS rebinding); with a
    /// token and no names here, any is taken. Default: none.
    pub hosts: Vec<String>,
    /// The runners of this program, for running messages, duplicates and failures. Default: none; the console then shows
    /// the store alone.
    pub activity: Option<Activity>,
    /// The state of the program that serves the console. Default: none.
    pub program: Option<Program>,
}

/// Whether records may be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writes {
    /// They may not: requests to redrive or forget are answered 403.
    #[default]
    Refused,
    /// They may, each with an actor and a reason, which are written down.
    Allowed,
}

/// Tells the state of a program.
#[derive(Clone)]
pub struct Program(Arc<dyn Fn() -> ProgramView + Send + Sync>);

impl Program {
    /// By this function, which is called once a second while a page is open; it must not block.
    pub fn new(state: impl Fn() -> ProgramView + Send + Sync + 'static) -> Self {
        Self(Arc::new(state))
    }

    pub(crate) fn view(&self) -> ProgramView {
        (self.0)()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}
