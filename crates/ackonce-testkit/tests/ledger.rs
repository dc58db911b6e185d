//! The ledger loses nothing and mixes nothing; the audit calls each repetition by its name.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread;

use ackonce::store::{Lease, Token};
use ackonce::{CancellationToken, Class, Context, Previous, Scope};
use ackonce_testkit::audit::{Audit, Cause, audit};
use ackonce_testkit::crash::{EventKind, FleetEvent, History};
use ackonce_testkit::ledger::{Ledger, LedgerEntry, LedgerReader};
use tempfile::TempDir;

fn effect(id: &str, fence: u64, pid: u32, at: u64) -> LedgerEntry {
    LedgerEntry { id: id.into(), key: format!("key of {id}"), attempt: 1, fence, pid, at }
}

#[test]
fn entries_of_many_writers_do_not_mix() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger");
    thread::scope(|scope| {
        for pid in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let ledger = Ledger::open(path).unwrap();
                for at in 0..500 {
                    ledger.append(&effect(&"x".repeat(200), 1, pid, at)).unwrap();
                }
            });
        }
    });
    let contents = Ledger::read(&path).unwrap();
    assert_eq!((contents.entries.len(), contents.torn), (2000, 0));
    for pid in 0..4 {
        let order: Vec<_> = contents.entries.iter().filter(|e| e.pid == pid).map(|e| e.at).collect();
        assert_eq!(order, (0..500).collect::<Vec<_>>());
    }
}

#[test]
fn a_torn_line_costs_no_other() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger");
    assert_eq!(Ledger::read(&path).unwrap().entries, [], "not there yet");
    let (first, second) = (effect("a\n\"b\"", 1, 1, 1), effect("\u{1f4a3}", 2, 1, 2));
    Ledger::open(&path).unwrap().synced().append(&first).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":\"torn").unwrap();
    let contents = Ledger::read(&path).unwrap();
    assert_eq!((contents.entries, contents.torn), (vec![first.clone()], 1));
    // The next process that opens the ledger ends the line, so that its own entry is whole.
    Ledger::open(&path).unwrap().append(&second).unwrap();
    let contents = Ledger::read(&path).unwrap();
    assert_eq!((contents.entries, contents.torn), (vec![first, second], 1));
}

#[test]
fn a_reader_follows_without_reading_twice() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger");
    let mut reader = LedgerReader::new(&path);
    assert!(reader.catch_up().unwrap().is_empty());
    let line = serde_json::to_string(&effect("a", 1, 1, 1)).unwrap() + "\n";
    let (head, tail) = line.split_at(20);
    fs::write(&path, head).unwrap();
    assert!(reader.catch_up().unwrap().is_empty(), "half a line is not there yet");
    OpenOptions::new().append(true).open(&path).unwrap().write_all(tail.as_bytes()).unwrap();
    assert_eq!(reader.catch_up().unwrap().len(), 1);
    assert_eq!(reader.catch_up().unwrap().len(), 1);
    assert_eq!(reader.into_contents().torn, 0);
}

#[test]
fn an_entry_tells_the_run_it_came_from() {
    let key = Scope::new("s").unwrap().key("evt_1").unwrap();
    let lease =
        Lease { key, token: Token::random(), fence: 7, attempt: 3, previous: Previous::None, progress: None };
    let cx = Context::new(lease, CancellationToken::new());
    let entry = LedgerEntry::now(&cx, "charge");
    assert_eq!((entry.id.as_str(), entry.fence, entry.attempt), ("evt_1", 7, 3));
    assert_eq!((entry.key, entry.pid), (cx.idempotency_key("charge"), std::process::id()));
    assert!(entry.at > 1_700_000_000_000_000, "microseconds");
}

fn audited(effects: &[LedgerEntry], events: &[(u32, EventKind, u64, u64)]) -> Audit {
    let event = |(pid, kind, from, to): &(u32, EventKind, u64, u64)| FleetEvent {
        pid: *pid,
        worker: 0,
        kind: kind.clone(),
        from: *from,
        to: *to,
    };
    let history = History { seed: 0, events: events.iter().map(event).collect() };
    audit(&BTreeMap::from([("a".to_owned(), 3)]), effects, &history)
}

#[test]
fn a_repetition_is_explained_by_a_death_or_stall_at_the_right_time_only() {
    let paused = || EventKind::Paused { point: None };
    // Claimed at 100 and 300, effects at 110 and 310.
    let twice = [effect("a", 100, 1, 110), effect("a", 300, 2, 310)];
    let cases = [
        (1, EventKind::Killed, 105, 120, Some(Cause::Died)),
        (1, EventKind::Crashed { point: "p".into() }, 111, 111, Some(Cause::Died)),
        (1, EventKind::Killed, 311, 311, None),
        (2, EventKind::Killed, 120, 120, None),
        (3, EventKind::Killed, 120, 120, None),
        (1, EventKind::Terminated, 120, 120, None),
        (1, paused(), 120, 290, Some(Cause::Stalled)),
        (1, paused(), 101, 109, Some(Cause::Overtaken)),
        (1, paused(), 50, 99, None),
        (2, paused(), 301, 309, None),
    ];
    for (pid, kind, from, to, cause) in cases {
        let audit = audited(&twice, &[(pid, kind.clone(), from, to)]);
        assert_eq!(audit.doubled[0].causes, [cause], "{kind:?} of {pid} from {from} to {to}");
        assert_eq!(audit.keeps(Class::Leased).is_ok(), cause.is_some());
        assert!(audit.keeps(Class::Inbox).unwrap_err().contains("1 doubled"));
        assert_eq!(audit.doubled_keyed.len() + audit.stale.len() + audit.lost.len(), 0);
    }
}

#[test]
fn a_worker_may_say_itself_that_it_could_not_record() {
    let effects = [effect("a", 100, 1, 110), effect("a", 300, 2, 310)];
    let explained = |fence| {
        let mut audit = audited(&effects, &[]);
        audit.explain(&effects, |said| said.fence == fence);
        audit.doubled[0].causes.clone()
    };
    assert_eq!(explained(100), [Some(Cause::NotRecorded)]);
    assert_eq!(explained(300), [None], "of the effect before, not of the repeat");
}

#[test]
fn an_effect_that_comes_late_is_stale() {
    // Claimed at 100, stopped from 105, taken over at 300; continued at 400, and its effect came after all.
    let late = [effect("a", 300, 2, 310), effect("a", 100, 1, 410)];
    let audit = audited(&late, &[(1, EventKind::Paused { point: None }, 105, 400)]);
    assert_eq!(audit.doubled[0].causes, [Some(Cause::Overtaken)]);
    assert!(audit.stale[0].explained && audit.stale[0].fence == 100 && audit.stale[0].after == 300);
    audit.keeps(Class::Leased).unwrap();
    let audit = audited(&late, &[]);
    assert!(!audit.stale[0].explained && !audit.doubled[0].explained());
    // One claim, run twice: no stall explains that.
    let audit =
        audited(&[effect("a", 100, 1, 110), effect("a", 100, 1, 410)], &[(1, EventKind::Killed, 120, 120)]);
    assert!(!audit.stale[0].explained);
    assert!(audit.keeps(Class::Leased).unwrap_err().contains("fence"));
}

#[test]
fn what_was_not_published_and_keys_that_differ_are_told() {
    let other_key = LedgerEntry { key: "another key".into(), ..effect("a", 300, 2, 310) };
    let killed = [(1, EventKind::Killed, 120, 120)];
    let audit = audited(&[effect("a", 100, 1, 110), other_key], &killed);
    assert_eq!(audit.doubled_keyed, ["a"]);
    audit.keeps(Class::Leased).unwrap();
    assert!(audit.keeps(Class::Keyed).unwrap_err().contains("different idempotency keys"));

    let stranger = LedgerEntry { key: "key of a".into(), ..effect("b", 300, 2, 310) };
    let audit = audited(&[effect("a", 100, 1, 110), stranger], &[]);
    assert_eq!(
        (audit.unknown_ids.as_slice(), audit.shared_keys.as_slice()),
        (&["b".to_owned()][..], &["key of a".to_owned()][..])
    );
    assert!(audit.keeps(Class::AtMostOnce).unwrap_err().contains("never published"));

    let audit = audited(&[], &[]);
    assert_eq!((audit.lost.len(), audit.published, audit.unique, audit.effects), (1, 3, 1, 0));
    assert!(audit.keeps(Class::Inbox).unwrap_err().starts_with("1 lost, such as \"a\""));
    audit.keeps(Class::AtMostOnce).unwrap();
}
