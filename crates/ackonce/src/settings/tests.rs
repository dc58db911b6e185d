//! Settings that are refused, and waits that grow.

use super::*;

#[test]
fn lengths_that_would_overflow_are_refused_by_name() {
    let backoff = |min, max| Settings::default().with_backoff(Backoff { min, max });
    let (ms, most) = (Duration::from_millis(1), Duration::MAX);
    let refused = [
        (Settings::default().with_lease(most), "Settings::lease"),
        (Settings::default().with_lease(DAY + ms), "Settings::lease"),
        (Settings::default().with_lease(Duration::ZERO), "Settings::lease"),
        (Settings::default().with_handler_timeout(Duration::ZERO), "Settings::handler_timeout"),
        (Settings::default().with_concurrency(usize::MAX), "concurrency"),
        (backoff(ms, most), "Backoff::max"),
        (backoff(most, most), "Backoff::max"),
        (backoff(most, ms), "Backoff::max"),
        (backoff(Duration::ZERO, ms), "Backoff::min"),
    ];
    for (settings, name) in refused {
        let error = settings.check().unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(name), "{error}");
    }
    let for_ever = Settings::default()
        .with_lease(DAY)
        .with_window(most)
        .with_handler_timeout(most)
        .with_shutdown_timeout(most)
        .with_busy_timeout(most)
        .with_store_timeout(most);
    for_ever.check().unwrap();
}

#[test]
fn a_back_off_grows_to_its_longest_and_never_overflows() {
    let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) };
    for n in 0..=u32::from(u8::MAX) {
        let least = backoff.min.saturating_mul(1 << n.saturating_sub(1).min(20)).min(backoff.max);
        assert!((least..=backoff.max).contains(&backoff.after(n)), "{n}");
    }
    for (min, max) in [(Duration::MAX, Duration::MAX), (Duration::from_nanos(1), Duration::MAX)] {
        assert_eq!(Backoff { min, max }.after(u32::MAX), DAY);
    }
}

#[test]
fn the_delays_of_retry_topics_say_which_outage_buries_nothing() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let settings = Settings::default();
    assert_eq!(settings.rides_out_with(&[]), settings.rides_out());
    assert_eq!(settings.rides_out_with(&[second, minute]), second + 13 * minute);
    assert_eq!(settings.clone().with_attempts(2).rides_out_with(&[second, minute]), second);
    assert_eq!(settings.with_attempts(u32::MAX).rides_out_with(&[Duration::MAX]), Duration::MAX);
}
