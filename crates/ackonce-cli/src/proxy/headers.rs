//! Headers on their way through.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::args::{Forwarded, HostHeader};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// True for a header about the client that only a proxy in front may set. Services that read headers as variables (CGI, WSGI,
/// Rack) take an underscore for a hyphen.
fn is_of_proxies(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name == FORWARDED.as_str() || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// The address of the client, an extension of its request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Takes out the headers of one connection ([RFC 9110, 7.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1)): the
/// listed ones, and those that `Connection` names. `TE: trailers` stays: gRPC needs it, and both sides can do it.
pub(super) fn strip(headers: &mut HeaderMap) {
    const OTHERS: [HeaderName; 4] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("proxy-authenticate"),
        HeaderName::from_static("proxy-authorization"),
    ];
    let takes_trailers = listed(headers, &TE).any(|value| value.eq_ignore_ascii_case("trailers"));
    let named: Vec<HeaderName> = listed(headers, &CONNECTION).filter_map(|name| name.parse().ok()).collect();
    for name in named.iter().chain(&OTHERS).chain(&[CONNECTION, TE, TRANSFER_ENCODING, UPGRADE]) {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Announces trailers, for which HTTP/1.1 has no place behind a body of a stated length. HTTP/2 needs no announcement, and
/// its client takes the connection's header out.
pub(super) fn announce(headers: &mut HeaderMap, trailers: &HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    for name in trailers.keys() {
        headers.append(TRAILER, HeaderValue::from_name(name.clone()));
    }
}

/// The members of all lines of a header.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',').map(str::trim))
}

/// The protocol that a client of HTTP/1.1 asks to change to.
pub(super) fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = version == Version::HTTP_11
        && listed(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"));
    // Not to HTTP/2, which both sides speak without asking: the protocols beside it, in all lines.
    let others = listed(headers, &UPGRADE).filter(|to| !to.is_empty() && !to.eq_ignore_ascii_case("h2c"));
    let others = others.collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&others).ok().filter(|_| asked && !others.is_empty())
}

/// Writes the headers of a request as the upstream is to have them.
pub(super) fn rewrite(head: &mut Parts, host: HostHeader, forwarded: Forwarded, trusted: bool) {
    let upgrade = upgrade(head.version, &head.headers);
    strip(&mut head.headers);
    // The body is asked for already: the client has its 100.
    head.headers.remove(EXPECT);
    if let Some(to) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, to);
    }
    // HTTP/2 has no Host header, and an absolute target goes over it.
    let asked = head.uri.authority().and_then(|authority| {
        let all = authority.as_str();
        HeaderValue::from_str(all.rsplit_once('@').map_or(all, |(_, host)| host)).ok()
    });
    let asked = asked.or_else(|| head.headers.get(HOST).cloned());
    if !trusted {
        let told: Vec<HeaderName> = head.headers.keys().filter(|name| is_of_proxies(name)).cloned().collect();
        for name in told {
            head.headers.remove(name);
        }
    }
    tell(head, asked.as_ref(), forwarded);
    match asked {
        Some(asked) if host == HostHeader::Client => head.headers.insert(HOST, asked),
        // The client of the upstream writes its own.
        _ => head.headers.remove(HOST),
    };
}

/// Adds the client's address, the scheme and the host that it asked for.
fn tell(head: &mut Parts, host: Option<&HeaderValue>, forwarded: Forwarded) {
    let Some(Peer(peer)) = head.extensions.get::<Peer>().copied() else { return };
    let headers = &mut head.headers;
    if matches!(forwarded, Forwarded::XForwarded | Forwarded::Both) {
        append(headers, X_FORWARDED_FOR, peer.to_string());
        // A proxy in front that is trusted knows better.
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
        }
    }
    if matches!(forwarded, Forwarded::Forwarded | Forwarded::Both) {
        let peer = match peer {
            IpAddr::V4(peer) => peer.to_string(),
            IpAddr::V6(peer) => format!("\"[{peer}]\""),
        };
        let host = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\']));
        let host = host.map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
        append(headers, FORWARDED, format!("for={peer};proto=http{host}"));
    }
}

/// Adds a member to the list in a header, on one line.
fn append(headers: &mut HeaderMap, name: HeaderName, member: String) {
    let mut all: Vec<String> = listed_lines(headers, &name);
    all.push(member);
    if let Ok(value) = HeaderValue::from_str(&all.join(", ")) {
        headers.insert(name, value);
    }
}

fn listed_lines(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/p");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        head.extensions.insert(Peer("192.0.2.7".parse().unwrap()));
        head
    }

    fn lines(head: &Parts) -> Vec<String> {
        let mut lines: Vec<_> =
            head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn headers_of_a_connection_end_here() {
        let mut head = head(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("host", "api"),
            ("authorization", "Bearer a"),
        ]);
        rewrite(&mut head, HostHeader::Client, Forwarded::None, false);
        assert_eq!(lines(&head), ["authorization: Bearer a", "host: api", "te: trailers"]);
        rewrite(&mut head, HostHeader::Upstream, Forwarded::None, false);
        assert_eq!(lines(&head), ["authorization: Bearer a", "te: trailers"]);
    }

    #[test]
    fn an_upgrade_is_asked_for_anew() {
        let mut ws = head(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("host", "a")]);
        rewrite(&mut ws, HostHeader::Client, Forwarded::None, false);
        assert_eq!(lines(&ws), ["connection: upgrade", "host: a", "upgrade: websocket"]);
        let mut h2c =
            head(&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "x")]);
        rewrite(&mut h2c, HostHeader::Client, Forwarded::None, false);
        assert_eq!(lines(&h2c), Vec::<String>::new());
        for (asked, passed) in
            [("h2c, H2C", None), ("h2c, websocket", Some("websocket")), ("x/1,h2c , y", Some("x/1, y"))]
        {
            let mut one = head(&[("connection", "upgrade"), ("upgrade", asked)]);
            rewrite(&mut one, HostHeader::Client, Forwarded::None, false);
            let to = one.headers.get(UPGRADE).map(|to| to.to_str().unwrap());
            assert_eq!((to, one.headers.contains_key(CONNECTION)), (passed, passed.is_some()), "{asked}");
        }
    }

    #[test]
    fn the_client_is_told_of_as_it_is_set_and_others_are_believed_if_trusted() {
        let sent = [
            ("host", "api"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/admin"),
            ("X-Forwarded-User", "root"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-real-ip", "1"),
        ];
        let mut new = head(&sent);
        rewrite(&mut new, HostHeader::Client, Forwarded::XForwarded, false);
        assert_eq!(
            lines(&new),
            ["host: api", "x-forwarded-for: 192.0.2.7", "x-forwarded-host: api", "x-forwarded-proto: http"]
        );
        let mut trusted = head(&sent);
        rewrite(&mut trusted, HostHeader::Upstream, Forwarded::Both, true);
        assert_eq!(
            lines(&trusted),
            [
                "forwarded: for=192.0.2.7;proto=http;host=\"api\"",
                "x-forwarded-for: 10.0.0.1, 192.0.2.7",
                "x-forwarded-host: api",
                "x-forwarded-prefix: /admin",
                "x-forwarded-proto: https",
                "x-forwarded-user: root",
                "x-real-ip: 1",
                "x_forwarded_for: 10.0.0.1",
            ]
        );
        let mut none = head(&sent);
        rewrite(&mut none, HostHeader::Client, Forwarded::None, false);
        assert_eq!(lines(&none), ["host: api"]);
    }
}
