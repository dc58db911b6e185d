//! Schedules that change or end, and slots that are missed or skipped.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_changed_schedule_begins_with_its_next_slot() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.host_for(world.job(every(HOUR)).with_missed(Missed::All), 3 * HOUR).await;
    assert_eq!(world.ran(), [3600, 7200, 10_800]);
    tokio::time::sleep(HOUR / 2).await;
    for length in [HOUR * 3 / 2, 24 * HOUR, HOUR / 2] {
        world.host_for(world.job(every(length)).with_missed(Missed::All), MINUTE).await;
        assert_eq!(world.ran(), [0; 0], "{length:?}: nothing at once");
    }
    world.host_for(world.job(every(HOUR / 2)).with_missed(Missed::All), HOUR).await;
    assert_eq!(world.ran(), [4 * 3600, 4 * 3600 + 1800]);
    let told = log.lines("the schedule has changed");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("before=\"every 3600s\" now=\"every 5400s\""), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn hosts_with_two_schedules_run_a_common_slot_once() {
    let world = World::new();
    let hosts = [
        world.host(world.job(every(2 * MINUTE))),
        world.host(world.job(every(3 * MINUTE))),
        world.host(world.job(Schedule::cron("*/6 * * * *", "Europe/Berlin").unwrap())),
        world.host(world.job(Schedule::cron("*/6 * * * *", "Asia/Kathmandu").unwrap())),
    ];
    tokio::time::sleep(12 * MINUTE).await;
    for host in hosts {
        let counts = host.stop().await;
        assert_eq!((counts.skipped, counts.buried), (0, 0));
    }
    // Kathmandu is 5:45 ahead of UTC: its sixth minutes are others.
    assert_eq!(
        world.ran(),
        [120, 180, 180, 240, 360, 480, 540, 540, 600, 720]
            .iter()
            .copied()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_longer_look_back_than_records_lived_runs_nothing_again() {
    let world = World::new();
    let short = Settings::default().with_window(12 * MINUTE);
    let job = || world.job(every(MINUTE)).with_missed(Missed::All);
    world.host_for(job().with_settings(short), 30 * MINUTE).await;
    assert_eq!(world.ran().len(), 30);
    let counts = world.host_for(job().with_look_back(100), 2 * MINUTE).await;
    assert_eq!((world.ran(), counts.skipped), (vec![31 * 60, 32 * 60], 0));
    for minute in 33..50 {
        world.host_for(job().with_look_back(100), MINUTE).await;
        assert_eq!(world.ran(), [minute * 60]);
    }
    // The one thing that the longer window allows: slots that were missed while it held are caught up.
    tokio::time::sleep(20 * MINUTE).await;
    world.host_for(job().with_look_back(100), MINUTE).await;
    assert_eq!(world.ran(), (50..=70).map(|minute| 60 * minute).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_while_it_skips_leaves_the_slots_to_be_skipped() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.host_for(world.job(every(MINUTE)), MINUTE).await;
    tokio::time::sleep(9 * MINUTE).await;
    assert_eq!(world.ran(), [60]);
    world.slow.store(1000, Ordering::SeqCst);
    // Its questions are the time and twice the end of the chain; then it claims.
    for millis in [3_500, 4_500, 5_500] {
        let host = world.host(world.job(every(MINUTE)).with_missed(Missed::Skip));
        tokio::time::sleep(Duration::from_millis(millis)).await;
        host.1.abort();
        assert!(host.1.await.unwrap_err().is_cancelled());
    }
    world.slow.store(0, Ordering::SeqCst);
    let counts = world.host_for(world.job(every(MINUTE)).with_missed(Missed::Skip), MINUTE).await;
    assert!(counts.skipped <= 8, "{counts:?}");
    assert_eq!(world.ran().iter().filter(|start| **start < 600).count(), 0, "none of them runs");
    assert!(log.lines("decision=\"skipped\"").len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn hosts_that_skip_at_once_count_each_slot_once_and_say_so_in_one_line() {
    let (log, _guard) = Log::start();
    let world = World::new();
    world.host_for(world.job(every(MINUTE)), MINUTE).await;
    tokio::time::sleep(9 * MINUTE).await;
    world.slow.store(100, Ordering::SeqCst);
    let hosts: Vec<_> = (0..4).map(|_| world.host(world.job(every(MINUTE)))).collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut skipped = 0;
    for host in hosts {
        skipped += host.stop().await.skipped;
    }
    assert_eq!((skipped, world.ran()), (8, vec![60, 600]));
    let told = log.lines("decision=\"skipped\"");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("INFO") && told[0].contains("slots=8"), "{told:?}");
    assert!(told[0].contains("oldest=2026-11-30T08:02:00.000Z newest=2026-11-30T08:09:00.000Z"), "{told:?}");
    assert_eq!(log.lines("buried"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_window_is_as_long_as_the_look_back_needs_unless_one_was_chosen() {
    let world = World::new();
    let day = 24 * HOUR;
    for length in [Duration::from_secs(1), MINUTE, day, 30 * day, 3650 * day] {
        world.job(every(length)).check().unwrap();
        world.job(every(length)).with_settings(Settings::default().with_attempts(3)).check().unwrap();
    }
    for expression in ["@daily", "@monthly", "@yearly", "0 0 29 2 *", "0 9-17 * * 1-5", "0 0 0 1 1 * 2020"] {
        world.job(Schedule::cron(expression, "Europe/Berlin").unwrap()).check().unwrap();
    }
    let job = || world.job(every(day)).with_settings(Settings::default().with_window(8 * day));
    let error = job().check().unwrap_err().to_string();
    assert!(error.contains("Settings::window") && error.contains("1036800s at least"), "{error}");
    assert!(error.contains("ScheduledJob::with_look_back to 6 at most"), "{error}");
    job().with_look_back(6).check().unwrap();
    job().with_look_back(7).check().unwrap_err();
    let error = world.job(every(MINUTE)).with_look_back(10_001).check().unwrap_err().to_string();
    assert!(error.contains("ScheduledJob::with_look_back") && error.contains("10000"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_whose_slots_are_over_waits_quietly() {
    let world = World::new();
    let over = Schedule::cron("0 0 0 1 1 * 2020", "UTC").unwrap();
    world.host_for(world.job(over), HOUR).await;
    assert_eq!(world.ran(), [0; 0]);
    let last = Schedule::cron("0 3 8 30 11 * 2026", "UTC").unwrap();
    world.host_for(world.job(last), HOUR).await;
    assert_eq!(world.ran(), [0; 0], "it was before the first start");
    let coming = Schedule::cron("0 3 9 30 11 * 2026", "UTC").unwrap();
    world.ran();
    let other = World::new();
    other.host_for(other.job(coming), 2 * HOUR).await;
    assert_eq!(other.ran(), [63 * 60]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for_and_its_slots_are_missed() {
    for (policy, minutes_away, skipped, ran) in [
        (Missed::Once, 5, 4, vec![60, 360, 420, 480]),
        (Missed::All, 5, 0, (1..=8).map(|n| 60 * n).collect()),
        (Missed::All, 20, 0, [1].into_iter().chain(11..=23).map(|n| 60 * n).collect()),
    ] {
        let (log, _guard) = Log::start();
        let world = World::new();
        world.is_away.store(true, Ordering::SeqCst);
        let host = world.host(world.job(every(MINUTE)).with_missed(policy));
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.is_away.store(false, Ordering::SeqCst);
        tokio::time::sleep(MINUTE).await;
        world.is_away.store(true, Ordering::SeqCst);
        tokio::time::sleep(minutes_away * MINUTE).await;
        world.is_away.store(false, Ordering::SeqCst);
        // The back-off, and two more slots.
        tokio::time::sleep(Duration::from_secs(89)).await;
        let counts = host.stop().await;
        let found = world.ran();
        assert_eq!((counts.skipped, counts.buried), (skipped, 0), "{policy:?} {found:?}");
        assert_eq!(found, ran, "{policy:?}");
        assert_eq!(log.lines("have passed by").len(), usize::from(minutes_away > 10), "{policy:?}");
        assert_eq!(log.lines("clock was set"), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_its_store_ends_when_it_is_told_to() {
    let world = World::new();
    world.is_away.store(true, Ordering::SeqCst);
    let began = Instant::now();
    world.host_for(world.job(every(MINUTE)), MINUTE).await;
    assert!(began.elapsed() < 2 * MINUTE);
}
