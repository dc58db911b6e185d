use ackonce_console::snapshot::{
    ProgramView, RunnerView, RunningMessageView, RunningView, ScopeView, StateCounts, StoreAnswer, StoreView,
};

use super::view::Key;
use super::*;

fn counts(claimed: u64, released: u64, done: u64, buried: u64) -> StateCounts {
    StateCounts { claimed, released, done, buried }
}

fn state(at_ms: u64, completed: u64) -> Box<Snapshot> {
    let message = |id: &str, age_ms| RunningMessageView {
        scope: Some("billing/charge".to_owned()),
        id: Some(id.to_owned()),
        attempt: 2,
        age_ms,
        lease_ms: None,
    };
    let scope = |name: &str, counts| ScopeView { scope: Some(name.to_owned()), counts };
    Box::new(Snapshot {
        at_ms,
        store: StoreView {
            name: "sqlite /var/lib/app/dedup.db".to_owned(),
            answer: Some(StoreAnswer {
                total: counts(2, 1, 1_234_567, 3),
                scopes: vec![
                    scope("billing/charge", counts(2, 1, 1_234_000, 3)),
                    scope("mail/send", counts(0, 0, 567, 0)),
                ],
                ..StoreAnswer::default()
            }),
            ..StoreView::default()
        },
        program: Some(ProgramView {
            name: "relay".to_owned(),
            live: true,
            lag: Some(1900),
            ..ProgramView::default()
        }),
        runners: vec![RunnerView {
            completed,
            duplicate: completed / 10,
            in_flight: 7,
            ..RunnerView::default()
        }],
        running: RunningView {
            total: 2,
            messages: vec![message("evt_1", 192_000), message("evt_\u{1b}[2J", 40)],
        },
        ..Snapshot::default()
    })
}

/// The screen as text.
fn drawn(view: &View, width: u16, height: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| screen::draw(frame, view));
    let lines = terminal.backend().buffer().content.chunks(usize::from(width));
    let lines = lines.map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn watched() -> View {
    let mut view = View::default();
    view.take(Ok(state(1000, 100)));
    view.take(Ok(state(2000, 150)));
    view
}

#[test]
fn a_screen_of_80_by_24_has_all_of_it() {
    let expected = "\
ackonce watch  relay  live  not ready  sqlite /var/lib/app/dedup.db
Completed    Duplicates   Failures     In flight    Running      Lag
50/s         5.0/s        0.0/s        7            2            1,900
Buried
3
Completed, each second──────────────────────────────────────────────────────────
█
█
Running now: 2──────────────────────────────────────────────────────────────────
Age          Scope                    Message ID                         Attempt
3 min 12 s   billing/charge           evt_1                              2
40 ms        billing/charge           evt_\u{fffd}[2J                          2





Records by scope────────────────────────────────────────────────────────────────
Scope                       Claimed       Released      Done          Buried
billing/charge              2             1             1,234,000     3
mail/send                   0             0             567           0


q quit   p pause   ? help";
    let text = drawn(&watched(), 80, 24);
    assert!(text == expected, "\n{text}\n");
}

#[test]
fn smaller_screens_leave_things_out() {
    let view = watched();
    let text = drawn(&view, 40, 16);
    assert!(text.contains("50/s") && text.contains("evt_1") && text.contains("Message ID"), "{text}");
    assert!(!text.contains("Attempt"), "{text}");
    for (width, height) in [(1, 1), (19, 40), (200, 4)] {
        assert!(!drawn(&view, width, height).contains("50/s"));
    }
    for width in (20..=200).step_by(7) {
        for height in 5..=50 {
            assert!(drawn(&view, width, height).contains("ackonce watch"), "{width} by {height}");
        }
    }
}

#[test]
fn a_store_alone_shows_its_records() {
    let mut view = View::default();
    let mut state = state(0, 0);
    (state.program, state.runners) = (None, Vec::new());
    state.store.trouble = Some("redis: connection refused".to_owned());
    view.take(Ok(state));
    let text = drawn(&view, 80, 24);
    for part in ["redis: connection refused", "Done", "–", "Remembered", "1,234,573", "mail/send"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn keys_pause_help_and_quit() {
    let mut view = watched();
    assert!(view.press(Key::Help) && drawn(&view, 80, 24).contains("pause, and go on"));
    assert!(view.press(Key::Help) && !drawn(&view, 80, 24).contains("pause, and go on"));
    assert!(view.press(Key::Pause));
    view.take(Err("gone".to_owned()));
    let text = drawn(&view, 80, 24);
    assert!(text.contains("paused") && !text.contains("gone"), "{text}");
    assert!(view.press(Key::Pause));
    view.take(Err("gone".to_owned()));
    assert!(drawn(&view, 80, 24).contains("gone"));
    assert!(!view.press(Key::Quit));
}

#[test]
fn a_state_on_paper_has_no_keys() {
    let text = page(state(0, 0)).unwrap();
    assert!(text.contains("billing/charge") && !text.contains("q quit"), "{text}");
}
