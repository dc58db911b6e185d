//! The names under which the console is asked: a page of another site that points its own name at this address (DNS
//! rebinding) has that name in `Host`.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};

/// The name and port that a request was sent to.
pub(super) fn authority(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let mut named = headers.get_all(HOST).iter();
    match (named.next(), named.next()) {
        (Some(host), None) => host.to_str().ok().map(str::to_ascii_lowercase),
        // HTTP/2 has it in the URI alone.
        (None, _) => uri.authority().map(|authority| authority.as_str().to_ascii_lowercase()),
        (Some(_), Some(_)) => None,
    }
}

/// The name alone.
pub(super) fn name(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// True for a name that no other site can take: it never leaves this host.
pub(super) fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// True if the browser says, or cannot but mean, that a page of this very console sent it; a program that is no browser
/// says nothing.
pub(super) fn is_own(headers: &HeaderMap, authority: &str) -> bool {
    let site = headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    // `none`: a person typed the address.
    let by_site = site.is_none_or(|site| site == b"same-origin" || site == b"none");
    let by_origin = headers.get(ORIGIN).is_none_or(|origin| {
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        origin
            .split_once("://")
            .is_some_and(|(scheme, place)| matches!(scheme, "http" | "https") && place == authority)
    });
    by_site && by_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_loopback() {
        for (authority, expected) in [
            ("localhost:7070", true),
            ("localhost", true),
            ("127.0.0.1:7070", true),
            ("127.8.9.10", true),
            ("[::1]:7070", true),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:7070", false),
            ("evil.example:127.0.0.1", false),
            ("[::2]:1", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(name(authority)), expected, "{authority}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_told_apart() {
        let own = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            is_own(&pairs.collect::<HeaderMap>(), "localhost:7070")
        };
        assert!(own(&[]) && own(&[("origin", "http://localhost:7070"), ("sec-fetch-site", "same-origin")]));
        assert!(own(&[("origin", "https://LOCALHOST:7070")]));
        for origin in
            ["null", "http://localhost:7071", "http://localhost", "ftp://localhost:7070", "evil", ""]
        {
            assert!(!own(&[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "x"] {
            assert!(!own(&[("sec-fetch-site", site)]), "{site}");
        }
    }
}
