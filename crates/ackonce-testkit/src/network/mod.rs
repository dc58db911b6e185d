//! The network suite: the duties of a store on a server when the network loses, delays and cuts.
//!
//! As [the conformance suite](mod@crate::conformance), with a [`Proxy`](crate::proxy::Proxy) between the store and
//! its server: plain functions over a [`Fixture`] that panic if the store breaks the property, made into tests
//! by [`network!`](crate::network!). A store may be shared with other tests.
//!
//! A store may repeat a call by itself, and it may answer any error that can be repeated. It must not
//! take an error for an answer, or say that nothing was applied if something was.
#![allow(clippy::panic, reason = "a property that does not hold panics, as every test does")]

mod bench;
mod cuts;

pub mod late;
pub mod lost;
pub mod silent;
pub mod slow;

use std::sync::Arc;

use ackonce::{Deduplicator, Result};
use async_trait::async_trait;

/// The store under test, and the address of its server.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// `host:port` of the server.
    fn server(&self) -> String;

    /// Connects a client of the same records to `address` (`host:port`) instead of [`server`](Self::server): every
    /// connection of it. A time-out of a second or two lets the suite end soon; it asserts none.
    ///
    /// # Errors
    /// Of the store.
    async fn open(&self, address: &str) -> Result<Arc<dyn Deduplicator>>;
}

/// Calls a macro of this crate with every property, grouped by module.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_network_property {
    ($callback:ident $($args:tt)*) => {
        $crate::$callback! { [$($args)*]
            late {
                a_claim_applied_late_is_one_attempt
                a_claim_applied_late_costs_a_rival_one_lease
                a_claim_applied_late_takes_nothing_from_a_rival
                a_completion_applied_late_is_fenced_off
            }
            lost {
                a_claim_cut_anywhere_is_repeated_or_is_a_rivals
                a_completion_cut_anywhere_is_repeated
                connecting_cut_anywhere_can_be_repeated
                a_reply_cut_in_the_middle_is_no_answer
            }
            silent {
                a_black_hole_is_no_answer_and_passes
                a_refused_connection_is_no_answer_and_passes
            }
            slow {
                delayed_answers_are_right
                dripped_answers_are_right
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __network_tests {
    ([$fixture:expr] $($group:ident { $($name:ident)* })*) => {$($(
        #[test]
        fn $name() {
            $crate::conformance::run_test(async {
                $crate::network::$group::$name(&$fixture).await;
            });
        }
    )*)*};
}

/// Makes a module with one test per property of the network suite, each named after its property.
///
/// The second argument is an expression for a [`Fixture`]; it is evaluated afresh
/// for each test, on that test's own multi-threaded tokio runtime, and may `.await`.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{Deduplicator, Result};
/// use ackonce_testkit::network::Fixture;
/// # use ackonce::MemoryStore as MyStore;
/// # trait Connect { async fn connect(url: String) -> Result<MyStore>; }
/// # impl Connect for MyStore { async fn connect(_: String) -> Result<MyStore> { Ok(MyStore::new()) } }
///
/// struct MyServer;
///
/// #[async_trait::async_trait]
/// impl Fixture for MyServer {
///     fn server(&self) -> String {
///         "127.0.0.1:6379".into()
///     }
///
///     async fn open(&self, address: &str) -> Result<Arc<dyn Deduplicator>> {
///         Ok(Arc::new(MyStore::connect(format!("mine://{address}")).await?))
///     }
/// }
///
/// ackonce_testkit::network!(network, MyServer);
/// ```
#[macro_export]
macro_rules! network {
    ($name:ident, $fixture:expr $(,)?) => {
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::__for_each_network_property!(__network_tests $fixture);
        }
    };
}
