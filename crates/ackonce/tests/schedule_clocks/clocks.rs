//! Clocks that are ahead, are set, stand still or answer late.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_first_start_under_a_clock_a_day_ahead_does_not_silence_the_job() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.set(24 * HOUR);
    world.host_for(world.job(every(MINUTE)), 3 * MINUTE).await;
    assert_eq!(world.ran().len(), 3);
    world.set(Duration::ZERO);
    world.host_for(world.job(every(MINUTE)), 3 * MINUTE).await;
    assert_eq!(world.ran(), [240, 300, 360], "at once, from the next slot on");
    let told = log.lines("lies in the future");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("recorded=2026-12-01T08:01:00.000Z"), "{told:?}");
    assert!(told[0].contains("store_time=2026-11-30T08:03:10.000Z"), "{told:?}");
    // It was put right: a restart within that day catches up, and says nothing.
    tokio::time::sleep(5 * MINUTE).await;
    world.host_for(world.job(every(MINUTE)).with_missed(Missed::All), MINUTE).await;
    assert_eq!(world.ran(), [420, 480, 540, 600, 660, 720]);
    assert_eq!(log.lines("lies in the future").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_at_the_start_of_a_process_is_put_right_while_it_runs() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.set(HOUR);
    let hosts = [world.host(world.job(every(MINUTE))), world.host(world.job(every(MINUTE)))];
    tokio::time::sleep(2 * MINUTE).await;
    world.ran();
    world.set(Duration::ZERO);
    tokio::time::sleep(5 * MINUTE).await;
    for host in hosts {
        host.stop().await;
    }
    assert_eq!(world.ran(), [240, 300, 360, 420], "from the first slot after it was noticed");
    assert_eq!(log.lines("lies in the future").len(), 1, "one of them mends it");
    assert_eq!(log.lines("clock was set back").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_clock_that_is_set_runs_no_slot_twice_and_goes_on_at_once() {
    let (log, _guard) = Log::start();
    let world = World::new();
    let host = world.host(world.job(every(MINUTE)));
    for ahead in [0, 3, 0, 600, 0] {
        world.set(ahead * MINUTE);
        tokio::time::sleep(5 * MINUTE).await;
    }
    let counts = host.stop().await;
    let ran = world.ran();
    let mut once = ran.clone();
    once.dedup();
    assert_eq!(ran, once);
    for minute in 21..=25 {
        assert!(ran.contains(&(60 * minute)), "minute {minute} after the clock was put right: {ran:?}");
    }
    assert_eq!(counts.buried, 0);
    assert_eq!((log.lines("clock was set forward").len(), log.lines("clock was set back").len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_is_late_by_seconds() {
    let (log, _guard) = Log::start();
    let world = World::new();
    let host = world.host(world.job(every(HOUR)));
    tokio::time::sleep(MINUTE).await;
    // Timers stand still, the dates go on.
    world.set(2 * HOUR);
    world.hosts_ahead.store(2 * 3_600_000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.ran(), [7200]);
    host.stop().await;
    assert_eq!(log.lines("clock was set"), [""; 0], "no clock was set");
}

#[tokio::test(start_paused = true)]
async fn a_host_clock_that_is_set_changes_nothing() {
    let world = World::new();
    let host = world.host(world.job(every(MINUTE)));
    for seconds in [0, 90_000, -90_000, 5, -5] {
        world.hosts_ahead.store(seconds * 1000, Ordering::SeqCst);
        tokio::time::sleep(2 * MINUTE).await;
    }
    let counts = host.stop().await;
    assert_eq!(world.ran(), (1..=10).map(|n| 60 * n).collect::<Vec<_>>());
    assert_eq!((counts.skipped, counts.buried), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_clock_that_jumps_is_noticed_within_a_minute() {
    let world = World::new();
    let host = world.host(world.job(every(24 * HOUR)));
    tokio::time::sleep(MINUTE).await;
    world.set(24 * HOUR);
    tokio::time::sleep(MINUTE).await;
    host.stop().await;
    assert_eq!(world.ran(), [16 * 3600], "the day that began meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_long_slot_costs_a_claim_a_minute() {
    let world = World::new();
    world.host_for(world.job(every(30 * 24 * HOUR)), 5 * HOUR).await;
    let claims = world.claims.load(Ordering::SeqCst);
    assert!((300..310).contains(&claims), "{claims}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_makes_a_slot_late_by_its_answers_alone() {
    let world = World::new();
    world.slow.store(700, Ordering::SeqCst);
    let host = world.host(world.job(every(MINUTE)));
    tokio::time::sleep(5 * MINUTE).await;
    let late = |(start, at): &(u64, u64)| at - start;
    let latest = world.runs.lock().unwrap().iter().map(late).max().unwrap();
    assert!(latest <= 3, "{latest} s");
    assert_eq!(host.stop().await.skipped, 0);
    assert_eq!(world.ran(), [60, 120, 180, 240, 300]);
}

/// 28 March and 31 October 2027 are the days on which Berlin's clocks change.
#[tokio::test(start_paused = true)]
async fn a_nightly_job_runs_once_on_the_days_on_which_clocks_change() {
    for (hour_before, run) in [(1_806_192_000 - 3600, 1_806_195_600), (1_824_939_000 - 3600, 1_824_942_600)] {
        let world = World::new();
        world.set(Duration::from_secs(hour_before - START));
        let job =
            || world.job(Schedule::cron("30 2 * * *", "Europe/Berlin").unwrap()).with_missed(Missed::All);
        // Restarts all through the night, two hosts at a time.
        for _ in 0..12 {
            let other = world.host(job());
            world.host_for(job(), HOUR / 2).await;
            other.stop().await;
        }
        assert_eq!(world.runs.lock().unwrap().iter().map(|(start, _)| *start).collect::<Vec<_>>(), [run]);
    }
}
