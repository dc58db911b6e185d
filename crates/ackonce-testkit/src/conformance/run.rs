//! The whole suite at once, with a report instead of a panic.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::{Fixture, PROPERTIES};
use crate::suite::SuiteReport;

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
            (property.name, end)
        });
    let mut report = SuiteReport::default();
    for (property, end) in join_all(runs).await {
        report.add(property, end);
    }
    report
}
