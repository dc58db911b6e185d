//! The whole suite at once, with a report instead of a panic.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::{Fixture, PROPERTIES};

/// The result of each property.
#[derive(Debug, Clone, Default)]
pub struct SuiteReport {
    /// The properties that hold.
    pub passed: Vec<&'static str>,
    /// The properties that do not.
    pub failed: Vec<FailedProperty>,
}

/// A property that does not hold.
#[derive(Debug, Clone)]
pub struct FailedProperty {
    /// Its name.
    pub property: &'static str,
    /// The answer of the store, and the right one.
    pub message: String,
}

impl SuiteReport {
    /// True if this property was found broken.
    #[must_use]
    pub fn caught_by(&self, property: &str) -> bool {
        self.failed.iter().any(|f| f.property == property)
    }
}

/// Checks every property, side by side in one task, and reports which hold.
pub async fn run_all(fixture: &dyn Fixture) -> SuiteReport {
    run_all_but(&[], fixture).await
}

/// The same, without those named.
///
/// # Panics
/// There is no property of such a name.
pub async fn run_all_but(names: &[&str], fixture: &dyn Fixture) -> SuiteReport {
    for name in names {
        assert!(PROPERTIES.iter().any(|property| property.name == *name), "there is no property {name}");
    }
    let runs =
        PROPERTIES.iter().filter(|property| !names.contains(&property.name)).map(|property| async move {
            let end = AssertUnwindSafe((property.check)(fixture)).catch_unwind().await;
            (property.name, end.err().map(|panic| message_of(&*panic)))
        });
    let mut report = SuiteReport::default();
    for (property, message) in join_all(runs).await {
        match message {
            None => report.passed.push(property),
            Some(message) => report.failed.push(FailedProperty { property, message }),
        }
    }
    report
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
