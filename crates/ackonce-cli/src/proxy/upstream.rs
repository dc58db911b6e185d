//! The URL of the service behind.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// The protocol that the upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `http:`: HTTP/1.1.
    Http,
    /// `https:`: HTTP/2 or HTTP/1.1, as the two agree.
    Https,
    /// `h2c:`: HTTP/2 without TLS, known in advance.
    H2c,
}

/// The place of the service behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub(super) protocol: Protocol,
    pub(super) authority: Authority,
    /// In front of all paths; without a slash at its end.
    prefix: String,
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write http://HOST:PORT, https://HOST or h2c://HOST:PORT";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("it has no scheme; {FORMS}"))?;
        let protocol = match scheme {
            "http" => Protocol::Http,
            "https" => Protocol::Https,
            "h2c" => Protocol::H2c,
            // A scheme may be a password that stands in the wrong place, so it is not repeated.
            _ => return Err(format!("its scheme is unknown; {FORMS}")),
        };
        if protocol == Protocol::Https && cfg!(not(feature = "tls")) {
            return Err("this program was built without TLS (feature tls)".to_owned());
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it has a user or a password, which are not sent; take them out".to_owned());
        }
        if rest.contains(['?', '#']) {
            return Err("it has a query or a fragment; take them out".to_owned());
        }
        let authority: Authority =
            authority.parse().map_err(|_| format!("its host or port cannot be read; {FORMS}"))?;
        // Its own parser lets a port be any text.
        let port = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        if !port.is_empty() && authority.port_u16().is_none() {
            return Err(format!("its port is no number up to 65535; {FORMS}"));
        }
        if authority.host().is_empty() {
            return Err(format!("it has no host; {FORMS}"));
        }
        let prefix = path.trim_end_matches('/').to_owned();
        if !prefix.is_empty() && prefix.parse::<PathAndQuery>().is_err() {
            return Err("its path cannot be read; percent-encode it".to_owned());
        }
        Ok(Self { protocol, authority, prefix })
    }
}

impl Upstream {
    /// Host, port and path: two services behind one address have two names.
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.authority, self.prefix)
    }

    /// The address of a request at the upstream. `None` for a target that has no path, such as `*`.
    pub(super) fn uri(&self, sent: &Uri) -> Option<Uri> {
        let path = sent.path_and_query().map_or("/", PathAndQuery::as_str);
        if !path.starts_with('/') {
            return None;
        }
        let path: PathAndQuery = match self.prefix.is_empty() {
            true => sent.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            false => format!("{}{path}", self.prefix).parse().ok()?,
        };
        let scheme = if self.protocol == Protocol::Https { Scheme::HTTPS } else { Scheme::HTTP };
        Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query(path).build().ok()
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
            Protocol::H2c => "h2c",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// Parses it on a command line; an error names the fault, without the URL.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamParser;

impl ValueParserFactory for Upstream {
    type Parser = UpstreamParser;

    fn value_parser() -> UpstreamParser {
        UpstreamParser
    }
}

impl TypedValueParser for UpstreamParser {
    type Value = Upstream;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Upstream, Error> {
        let parsed = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(str::parse);
        parsed.map_err(|why| {
            let flag = arg.map_or_else(|| "the upstream's URL".to_owned(), ToString::to_string);
            Error::raw(ErrorKind::ValueValidation, format!("{flag}: {why}\n")).with_cmd(cmd)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_behind_the_upstreams() {
        let at = |upstream: &str, sent: &str| {
            let uri = upstream.parse::<Upstream>().unwrap().uri(&sent.parse().unwrap());
            uri.map(|uri| uri.to_string())
        };
        assert_eq!(at("http://a:1", "/p?q=%2f").unwrap(), "http://a:1/p?q=%2f");
        assert_eq!(at("http://a:1/v1/", "/p?q").unwrap(), "http://a:1/v1/p?q");
        assert_eq!(at("h2c://a:1", "http://other/p").unwrap(), "http://a:1/p");
        assert_eq!(at("http://[::1]:1", "/").unwrap(), "http://[::1]:1/");
        assert_eq!(at("http://a:1", "*"), None);
    }

    #[test]
    fn two_services_behind_one_address_file_under_names_of_their_own() {
        let name = |upstream: &str| upstream.parse::<Upstream>().unwrap().name();
        assert_eq!((name("http://a:1/us"), name("http://a:1/eu/")), ("a:1/us".into(), "a:1/eu".into()));
        assert_eq!(name("http://a:1/"), "a:1");
    }

    #[test]
    fn a_malformed_url_is_told_by_its_fault_and_without_its_password() {
        for text in [
            "a:1",
            "ftp://a",
            "http://",
            "http://u:s3cret@a",
            "http://a?token=s3cret",
            "http://a b",
            "http://a:x",
        ] {
            let error = text.parse::<Upstream>().unwrap_err();
            assert!(!error.contains("s3cret") && error.contains(';'), "{text}: {error}");
        }
    }
}
