//! Two messages never share a record, however alike their IDs were made.

use std::collections::HashSet;

use ackonce::Scope;
use ackonce::store::Settle;

use super::Fixture;
use super::bench::{Bench, LONG, key, request, scope};

/// Numbers, cases, spaces, NULs, composed and decomposed letters, IDs that are no text.
pub async fn lookalike_ids_stay_apart(fixture: &dyn Fixture) {
    let ids: [&[u8]; 30] = [
        b"7",
        b"007",
        b"7.0",
        b"+7",
        b"0x7",
        b"a",
        b"A",
        b" a",
        b"a ",
        b"a\n",
        b"a\0",
        b"\0a",
        b"a\0b",
        b"a\0c",
        b"\0",
        b"\0\0",
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        "\u{df}".as_bytes(),
        b"ss",
        "\u{212a}".as_bytes(),
        b"K",
        b"k",
        "\u{fffd}".as_bytes(),
        b"\xff",
        b"\xfe",
        b"\xff\xff",
        b"\xe9",
        b"null",
        b"NULL",
    ];
    stay_apart(fixture, &ids).await;
}

/// Characters with a meaning in SQL, Lua, patterns, cluster hash tags, paths and formats.
pub async fn hostile_ids_stay_apart(fixture: &dyn Fixture) {
    let ids: [&[u8]; 27] = [
        b"a:b|c",
        b"a|b:c",
        b"a:b:c",
        b"{x}y",
        b"x{y}",
        b"{}xy",
        b"{xy",
        b"x",
        b"'",
        b"''",
        b"\\'",
        b"x' OR '1'='1",
        b"x'; DROP TABLE records; --",
        b"x')) RETURNING *; --",
        b"]] redis.call('FLUSHALL') --[[",
        b"\r\n*1\r\n$8\r\nFLUSHALL\r\n",
        b"%",
        b"_",
        b"*",
        b"?",
        b"[x]",
        b"$1",
        b"?1",
        b"{0}",
        b"%s",
        b"../x",
        b"\\x78",
    ];
    stay_apart(fixture, &ids).await;
}

/// Claims each ID once and completes it with itself: a record that is shared would show in either.
async fn stay_apart(fixture: &dyn Fixture, ids: &[&[u8]]) {
    let bench = Bench::new(fixture).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "the suite's own IDs differ");
    let mut leases = Vec::new();
    for id in ids {
        leases.push(bench.a.acquire(&bench.request(id)).await);
    }
    for (id, lease) in ids.iter().zip(&leases) {
        let outcome = Some(id.to_vec().into());
        bench.a.confirm(lease, Settle::Complete { window: LONG, outcome }).await;
    }
    for (id, lease) in ids.iter().zip(&leases) {
        let record = bench.b.done(&bench.request(id)).await;
        assert_eq!(record.outcome.as_deref(), Some(*id), "the outcome of {}", id.escape_ascii());
        assert_eq!(record.fence, lease.fence, "the fence of {}", id.escape_ascii());
    }
}

/// The same letters, cut elsewhere: `ab` + `c` is not `a` + `bc`, with or without separators.
pub async fn scope_and_id_do_not_run_into_each_other(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let pairs = [
        ("a", "bc"),
        ("ab", "c"),
        (":a:b", "c"),
        (":a", "b:c"),
        (":a", ":b:c"),
        ("|a:b", "c"),
        ("|a", "b|c"),
        ("|a|b", "c"),
        ("/a", "/b"),
        ("/a/", "b"),
        ("{a}", "b"),
        ("{a", "}b"),
    ];
    let base = bench.scope.name();
    for (suffix, id) in pairs {
        let scope = Scope::new(format!("{base}{suffix}")).unwrap_or_else(|e| panic!("a bad scope: {e}"));
        bench.a.acquire(&request(key(&scope, id))).await;
        bench.b.busy(&request(key(&scope, id))).await;
    }
}

/// The same ID in two scopes is two messages.
pub async fn scopes_share_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let other = scope("");
    let beside = bench.scope.beside("purpose");
    let lease = bench.a.acquire(&bench.request("id")).await;
    for scope in [&other, &beside] {
        bench.a.acquire(&request(key(scope, "id"))).await;
    }
    bench.a.confirm(&lease, Settle::Complete { window: LONG, outcome: None }).await;
    for scope in [&other, &beside] {
        bench.b.busy(&request(key(scope, "id"))).await;
    }
    bench.b.done(&bench.request("id")).await;
}

/// IDs of 1 and of 1024 bytes, and the longest scope name, differ to the last byte. Longer IDs, and empty ones,
/// are refused before any store sees them, so every store refuses them alike.
pub async fn the_shortest_and_longest_ids_are_kept_whole(fixture: &dyn Fixture) {
    let long = |last: u8| [[b'x'; 1023].as_slice(), &[last]].concat();
    let (x, y) = (long(b'x'), long(b'y'));
    let ids: [&[u8]; 6] = [b"x", b"y", &x, &y, &x[..1023], &x[..255]];
    stay_apart(fixture, &ids).await;

    let bench = Bench::new(fixture).await;
    for refused in [vec![], vec![b'x'; 1025]] {
        assert!(
            bench.scope.key(refused).is_err(),
            "an ID without bytes, or with more than 1024, makes no key"
        );
    }
    let name = |last: char| format!("{:x<255}{last}", bench.scope.name());
    for last in ['x', 'y'] {
        let scope = Scope::new(name(last)).unwrap_or_else(|e| panic!("a bad scope: {e}"));
        bench.a.acquire(&request(key(&scope, &x))).await;
    }
}
