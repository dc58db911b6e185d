use super::*;

fn error(text: &str) -> UrlError {
    text.parse::<StoreUrl>().unwrap_err()
}

fn path(text: &str) -> String {
    match text.parse::<StoreUrl>().unwrap().place() {
        Place::Sqlite(url) => url.path().display().to_string(),
        place => panic!("{text} is {place:?}"),
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
    assert_eq!(error("dedup.db"), UrlError::NoScheme);
    assert_eq!(error("/a:b"), UrlError::NoScheme);
    assert_eq!(error("mysql:x"), UrlError::UnknownScheme("mysql".into()));
    assert_eq!(error("redis://"), UrlError::NoServer("redis".into()));
    assert_eq!(error("postgres:app"), UrlError::NoServer("postgres".into()));
    assert_eq!(error("sqlite:?names=keep"), UrlError::NoPath);
    assert_eq!(error("memory:x"), UrlError::Unexpected);
    assert_eq!(error("memory:?a=b"), UrlError::Unexpected);
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
fn a_servers_options_are_checked_like_a_files() {
    let good = [
        "redis://host",
        "valkey://:pw@host:7000/2?prefix=a&response_timeout_ms=500&unsafe=downgrade",
        "rediss+cluster://u:p@a:1,b:2?replicas=1&replicas_timeout_ms=100",
        "redis+unix:///run/r.sock?db=1&pass=x&prefix=a",
        "postgres://app:p%40ss@host/db?schema=dedup&tables=create&names=omit&sslmode=disable&connect_timeout=3",
        "postgresql://host?prepare=never&unsafe=downgrade&sweep=manual&connections=3&lock_timeout_ms=9&request_timeout_ms=9",
    ];
    for url in good {
        url.parse::<StoreUrl>().unwrap_or_else(|e| panic!("{url}: {e}"));
    }
    let bad = [
        ("redis://host?schema=x", "`schema` is unknown; there are prefix"),
        ("redis://host?db=1", "`db` is unknown"),
        ("redis://host?response_timeout_ms=1s", "milliseconds"),
        ("redis://host?replicas_timeout_ms=1", "beside replicas"),
        ("postgres://host/db?prefix=x", "`prefix` is unknown; there are schema"),
        ("postgres://host/db?tables=maybe", "expected or create"),
        ("postgres://host/db?schema=pg_x", "pg_"),
        ("postgres://host:x/db", "port"),
        ("postgres://host/db?sslmode=maybe", "sslmode"),
    ];
    for (url, part) in bad {
        let message = error(url).to_string();
        assert!(message.contains(part), "{url}: {message}");
    }
}

/// Neither shown, nor told when something else is wrong, nor by clap.
#[test]
fn passwords_are_not_shown() {
    let good = [
        ("redis://me:s3cret@host/0?prefix=a", "redis://me:***@host/0?prefix=a"),
        ("redis://:s3cret@host", "redis://:***@host"),
        ("redis://me:s3cret@s3cret@host", "redis://me:***@host"),
        ("redis+unix:///run/r.sock?pass=s3cret&db=1", "redis+unix:///run/r.sock?pass=***&db=1"),
        ("postgres://me:s3cret@host/db?schema=a", "postgres://me:***@host/db?schema=a"),
        ("postgres://host/db?password=s3cret", "postgres://host/db?password=***"),
    ];
    for (url, shown) in good {
        let parsed = url.parse::<StoreUrl>().unwrap();
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(parsed.with_secrets(), url);
        assert!(!format!("{parsed:?} {:?}", parsed.place()).contains("s3cret"), "{url}");
    }
    let bad = [
        "//me:s3cret@host",
        "me:s3cret@host",
        "redis://me:a?s3cret@host",
        "redis://me:a?b=s3cret&s3cret@host",
        "redis://me:s3cret@host?x=1",
        "postgres://me:s3cret@host:x/db",
        "postgres://me:s3cret@host/db?sslmode=x",
        "postgres://me:s3cret@host/db?tables=x",
        "mysql://me:s3cret@host",
        // Pasted twice.
        "redis:redis://me:s3cret@host",
        "postgres:postgres://me:s3cret@host/db",
        "redis:me:s3cret@host",
    ];
    for url in bad {
        let error = error(url);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{url}: {error}");
        let command = clap::Command::new("a")
            .arg(clap::Arg::new("store").long("store").value_parser(clap::value_parser!(StoreUrl)));
        let told = command.try_get_matches_from(["a", "--store", url]).unwrap_err();
        let text = told.to_string();
        assert!(
            !text.contains("s3cret") && text.contains(&error.to_string()) && text.contains("--store"),
            "{text}"
        );
    }
}

proptest::proptest! {
    /// No text makes it panic, and a parsed URL is shown and parsed again as itself.
    #[test]
    fn no_input_panics(
        scheme in "(memory|sqlite|redis|valkeys|rediss\\+cluster|redis\\+unix|postgres|postgresql)?",
        rest in "([:/?#@&=%.,\\[\\]a-z0-9]|\\PC){0,40}",
        option in "(schema|prefix|names|unsafe|replicas|busy_timeout_ms|password|sslmode|host|port|x)?",
    ) {
        for text in [format!("{scheme}{rest}"), format!("{scheme}://{rest}?{option}={rest}"), format!("{scheme}:{rest}&{option}=1")] {
            match text.parse::<StoreUrl>() {
                Ok(url) => drop(url.to_string()),
                Err(error) => drop(error.to_string()),
            }
        }
    }
}

#[tokio::test]
async fn options_reach_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dedup.db");
    let url = |options: &str| format!("sqlite:{}{options}", file.display()).parse::<StoreUrl>().unwrap();
    assert_eq!(
        url("?synchronous=normal").open().await.unwrap().deduplicator().describe().weaknesses.len(),
        1
    );
    assert!(url("").open().await.unwrap().sqlite().is_some());
    assert!("memory:".parse::<StoreUrl>().unwrap().open().await.unwrap().sqlite().is_none());
}
