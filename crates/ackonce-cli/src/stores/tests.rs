use super::*;

fn error(text: &str) -> UrlError {
    text.parse::<StoreUrl>().unwrap_err()
}

fn path(text: &str) -> String {
    match text.parse::<StoreUrl>().unwrap().place() {
        Place::Sqlite(url) => url.path().display().to_string(),
        Place::Memory => panic!("{text} is in memory"),
    }
}

#[test]
fn paths_are_what_stands_there() {
    assert_eq!(path("sqlite:dedup.db"), "dedup.db");
    assert_eq!(path("sqlite:/var/lib/a b%20c.db"), "/var/lib/a b%20c.db");
    assert_eq!(path("sqlite://dedup.db"), "dedup.db");
    assert_eq!(path("sqlite:///var/dedup.db?synchronous=full&names=omit"), "/var/dedup.db");
}

#[test]
fn the_bad_part_is_named() {
    assert_eq!(error("dedup.db"), UrlError::NoScheme("dedup.db".into()));
    assert_eq!(error("/a:b"), UrlError::NoScheme("/a:b".into()));
    assert_eq!(error("mysql:x"), UrlError::UnknownScheme("mysql".into()));
    assert_eq!(error("redis://localhost"), UrlError::NotBuiltIn("redis".into()));
    assert_eq!(error("sqlite:?names=keep"), UrlError::NoPath);
    assert_eq!(error("memory:x"), UrlError::Unexpected("x".into()));
    assert_eq!(error("memory:?a=b"), UrlError::Unexpected("a".into()));
    assert_eq!(error("sqlite:a?names"), UrlError::NoValue("names".into()));
    assert!(error("sqlite:a?nmaes=keep").to_string().contains("`nmaes` is unknown"));
    assert!(error("sqlite:a?names=keep&names=keep").to_string().contains("given twice"));
    for value in ["", "-1", "0", "5s", "99999999999999999999"] {
        let text = error(&format!("sqlite:a?busy_timeout_ms={value}")).to_string();
        assert!(text.contains("busy_timeout_ms") && text.contains("milliseconds"), "{text}");
    }
    assert!(error("sqlite:a?synchronous=off").to_string().contains("full or normal"));
}

#[test]
fn options_reach_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dedup.db");
    let url = |options: &str| format!("sqlite:{}{options}", file.display()).parse::<StoreUrl>().unwrap();
    assert!(url("?synchronous=normal").open().unwrap().deduplicator().describe().weaknesses.len() == 1);
    let opened = url("").open().unwrap();
    assert!(opened.sqlite().is_some());
    assert!("memory:".parse::<StoreUrl>().unwrap().open().unwrap().sqlite().is_none());
}
