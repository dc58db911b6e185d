//! The address of a service.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

/// Why a text is no address: one sentence that names the part to change, and repeats nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(&'static str);

/// The address of a service: `http[s]://[USER[:PASSWORD]@]HOST[:PORT]/PATH`. User and password are percent-encoded; they go
/// along as the header `Authorization`, and are never shown.
#[derive(Clone)]
pub struct ServiceAddress {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl ServiceAddress {
    /// # Errors
    /// The text is no such address.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let unlike = InvalidAddress("it is no http:// URL; write http://HOST:PORT/PATH");
        let (scheme, rest) = text.split_once("://").ok_or(unlike.clone())?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() {
            return Err(InvalidAddress("it names no host; write http://HOST:PORT/PATH"));
        }
        let authorization = user.map(basic).transpose()?;
        let uri: Uri = format!("{scheme}://{host}{path}").parse().map_err(|_| unlike.clone())?;
        // The parser takes other schemes, and a port that is no number.
        let is_numeric = |a: &http::uri::Authority| {
            a.port_u16().is_some() || !a.as_str().contains(':') || a.as_str().ends_with(']')
        };
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if is_numeric(authority) => {
                Ok(Self { uri, authorization })
            }
            _ => Err(unlike),
        }
    }

    /// The address of a path beneath this one, with its user and password: `http://h/base` and `orders?a=b` make
    /// `http://h/base/orders?a=b`. A path leads to no other host, and not above this address.
    ///
    /// # Errors
    /// The text is no path, or has a segment `..`; this address has a query.
    pub fn beneath(&self, path: &str) -> Result<Self, InvalidAddress> {
        let (only, _) = path.split_once('?').unwrap_or((path, ""));
        let decoded = percent_decode_str(only).decode_utf8_lossy();
        // Some services take a backslash for a slash.
        if decoded.split(['/', '\\']).any(|segment| segment == "..") {
            return Err(InvalidAddress("its path has a segment `..`"));
        }
        if self.uri.query().is_some() {
            return Err(InvalidAddress("an address with a query has nothing beneath it"));
        }
        let unlike = || InvalidAddress("it is no path, such as orders/placed");
        let mut parts = self.uri.clone().into_parts();
        let whole = format!("{}/{}", self.uri.path().trim_end_matches('/'), path.trim_start_matches('/'));
        parts.path_and_query = Some(whole.parse().map_err(|_| unlike())?);
        let uri = Uri::from_parts(parts).map_err(|_| unlike())?;
        Ok(Self { uri, authorization: self.authorization.clone() })
    }

    /// True if it has a user.
    #[must_use]
    pub fn has_login(&self) -> bool {
        self.authorization.is_some()
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

impl fmt::Debug for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a secret.
        write!(f, "ServiceAddress({})", self.host())
    }
}

/// `USER:PASSWORD` as a header. A user without a password has an empty one: the colon is always there
/// ([RFC 7617, 2](https://www.rfc-editor.org/rfc/rfc7617#section-2)).
fn basic(login: &str) -> Result<HeaderValue, InvalidAddress> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |text| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map_err(|_| InvalidAddress("a percent-encoded part of it is not UTF-8"))
    };
    let user = decoded(user)?;
    if user.contains(':') {
        return Err(InvalidAddress(
            "its user has a colon in it, which the service would take for the password's",
        ));
    }
    let login = format!("{user}:{}", decoded(password)?);
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(login)))
        .map_err(|_| InvalidAddress("its user and password cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_malformed_address_is_refused() {
        for (text, part) in [
            ("http://", "names no host"),
            ("http://u:p@/x", "names no host"),
            ("http://h:x/", "no http:// URL"),
            ("ftp://h/", "no http:// URL"),
            ("/path", "no http:// URL"),
            ("http://h/a b", "no http:// URL"),
        ] {
            assert!(ServiceAddress::parse(text).unwrap_err().to_string().contains(part), "{text}");
        }
        assert!(
            ServiceAddress::parse("http://[::1]/x").is_ok() && ServiceAddress::parse("https://h:1").is_ok()
        );
    }

    #[test]
    fn a_login_always_has_its_colon() {
        for (user, login) in [
            ("u:p", "u:p"),
            ("token", "token:"),
            ("token:", "token:"),
            (":p", ":p"),
            ("u:p:q", "u:p:q"),
            ("u%2F:%3a", "u/::"),
        ] {
            let address = ServiceAddress::parse(&format!("http://{user}@h/")).unwrap();
            let sent = format!("Basic {}", STANDARD.encode(login));
            assert_eq!(address.authorization().unwrap(), &*sent, "{user}");
        }
        assert!(ServiceAddress::parse("http://a%3ab:p@h/").unwrap_err().to_string().contains("colon"));
    }

    #[test]
    fn a_path_stays_beneath_its_address() {
        let base = ServiceAddress::parse("http://u:p@h:1/base").unwrap();
        let uri = |path: &str| base.beneath(path).map(|address| address.uri.to_string());
        assert_eq!(uri("orders").unwrap(), "http://h:1/base/orders");
        assert_eq!(uri("/orders/7?a=../b").unwrap(), "http://h:1/base/orders/7?a=../b");
        assert_eq!(uri("//evil/x").unwrap(), "http://h:1/base/evil/x");
        assert_eq!(uri("http://evil/x").unwrap(), "http://h:1/base/http://evil/x");
        for path in ["../x", "a/../../x", "%2e%2e/x", "a%2F..%2Fx", "..\\x", "a b"] {
            assert!(uri(path).is_err(), "{path}");
        }
        assert!(ServiceAddress::parse("http://h/?token=x").unwrap().beneath("x").is_err());
        assert!(base.beneath("x").unwrap().authorization().is_some_and(HeaderValue::is_sensitive));
        assert_eq!(format!("{base:?}"), "ServiceAddress(h)");
    }
}
