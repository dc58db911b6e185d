//! The properties of a suite, and the report on them.

use std::any::Any;
use std::fmt;

use ackonce::adapter::panic_text;

/// One property of a suite, whose checks are functions of the type `C`.
#[derive(Clone, Copy)]
pub struct Property<C> {
    /// The name of its function and of its test.
    pub name: &'static str,
    /// Checks it; panics if the store breaks it.
    pub check: C,
}

impl<C> fmt::Debug for Property<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The result of each property.
///
/// ```
/// use ackonce_testkit::conformance::SuiteReport;
/// /// For a store that breaks one property on purpose.
/// fn check(report: &SuiteReport) {
///     assert!(report.caught_by("a_released_attempt_counts"));
///     assert_eq!(report.failed.len(), 1, "{report:?}");
/// }
/// ```
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

    /// Adds the end of a property's check: a panic says that it does not hold.
    pub(crate) fn add(&mut self, property: &'static str, end: Result<(), Box<dyn Any + Send>>) {
        match end {
            Ok(()) => self.passed.push(property),
            Err(panic) => {
                self.failed.push(FailedProperty { property, message: panic_text(&*panic).to_owned() });
            }
        }
    }
}
