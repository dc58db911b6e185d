use super::*;

fn health() -> AmqpHealth {
    AmqpHealth::new("orders", AmqpMetrics::new("orders"))
}

/// Its clock began so long ago.
fn aged(seconds: u64) -> AmqpHealth {
    let start = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    AmqpHealth::since(start, "orders", AmqpMetrics::new("orders"))
}

#[test]
fn a_consumer_is_live_before_it_starts_and_not_after_its_end() {
    let health = health();
    assert!(health.is_live() && !health.is_ready());
    health.is_now(Phase::Starting, Some("refused".to_owned()));
    assert!(health.is_live() && !health.is_ready());
    assert_eq!(health.report().trouble.as_deref(), Some("refused"));
    health.is_now(Phase::Consuming, None);
    assert!(health.is_live() && health.is_ready());
    assert_eq!(health.report().trouble, None);
    health.is_now(Phase::Away, Some("connection lost".to_owned()));
    assert!(health.is_live() && !health.is_ready(), "a broker that is away is no reason for a restart");
    health.is_now(Phase::Stopping, None);
    health.is_now(Phase::Consuming, None);
    assert_eq!(health.report().phase, Phase::Stopping, "what stops does not start again");
    health.is_now(Phase::Ended, None);
    assert!(!health.is_live() && !health.is_ready());
}

#[test]
fn a_loop_that_does_not_turn_is_not_live() {
    let health = aged(600);
    health.is_now(Phase::Consuming, None);
    assert!(health.is_live());
    health.0.progress.turned.store(0, Ordering::Relaxed);
    assert!(!health.is_live() && !health.is_ready());
    assert!(health.report().to_string().contains("has not turned for 600 s"), "{}", health.report());
}
