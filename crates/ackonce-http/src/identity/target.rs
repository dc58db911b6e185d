//! The target of a request. Two targets never share a key.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;

/// The target of a request: a part of the name of its record.
///
/// The default is the path. That is right for one service, however many names and addresses it has: a retry that goes to
/// another of them is still a retry. It is **wrong for one layer, or two on one scope, behind several hosts**: use
/// [`host_and_path`](Self::host_and_path) there. Two layers with scopes of their own never share a record.
///
/// A router that nests others strips the matched prefix from the path, so that a layer inside of `/us` and of `/eu` sees
/// `/pay` in both. With the feature `axum` the path is the one that the client sent, which axum puts among the
/// extensions, and nested routers share no key. **Without the feature they do**: put the layer around the outer router, or
/// name the target yourself. Switching the feature on gives the routes of nested routers new keys.
///
/// ```
/// use ackonce_http::{Options, Target};
/// use axum::extract::OriginalUri;
///
/// let sent = Target::by(|parts| match parts.extensions.get::<OriginalUri>() {
///     Some(OriginalUri(uri)) => uri.path().to_owned(),
///     None => parts.uri.path().to_owned(),
/// });
/// let options = Options::default().with_target(sent);
/// ```
#[derive(Clone, Default)]
pub struct Target(Choice);

#[derive(Clone, Default)]
enum Choice {
    #[default]
    Path,
    HostAndPath,
    By(Arc<dyn Fn(&Parts) -> String + Send + Sync>),
}

impl Target {
    /// The path that the client sent, as far as the layer can see it. The default.
    #[must_use]
    pub fn path() -> Self {
        Self(Choice::Path)
    }

    /// The host, from the URI or from the `Host` header, in lower case and with its port if it has one; then the path. A
    /// retry by another name of the same service runs again, so all clients have to keep to one.
    #[must_use]
    pub fn host_and_path() -> Self {
        Self(Choice::HostAndPath)
    }

    /// By any part of the head.
    #[must_use]
    pub fn by(target: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        Self(Choice::By(Arc::new(target)))
    }

    pub(crate) fn of<'a>(&self, parts: &'a Parts) -> Cow<'a, str> {
        match &self.0 {
            Choice::Path => path(parts).into(),
            Choice::HostAndPath => (host(parts).unwrap_or_default() + path(parts)).into(),
            Choice::By(target) => target(parts).into(),
        }
    }
}

/// The path that was sent: a nested router sees a part of it.
fn path(parts: &Parts) -> &str {
    #[cfg(feature = "axum")]
    if let Some(sent) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return sent.path();
    }
    parts.uri.path()
}

fn host(parts: &Parts) -> Option<String> {
    let lower = |authority: &Authority| {
        let all = authority.as_str();
        // Not the user's name.
        all.rsplit_once('@').map_or(all, |(_, host)| host).to_ascii_lowercase()
    };
    if let Some(authority) = parts.uri.authority() {
        return Some(lower(authority));
    }
    let host = parts.headers.get(HOST)?;
    Authority::try_from(host.as_bytes()).ok().as_ref().map(lower)
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Choice::Path => "Target(path)",
            Choice::HostAndPath => "Target(host and path)",
            Choice::By(_) => "Target(custom)",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_host_is_that_of_the_uri_or_of_its_header() {
        let target = |uri: &str, host: &str| {
            let parts = Request::post(uri).header(HOST, host).body(()).unwrap().into_parts().0;
            Target::host_and_path().of(&parts).into_owned()
        };
        assert_eq!(target("/pay?a=1", "US.example:8080"), "us.example:8080/pay");
        assert_eq!(target("http://eu.example/pay", "us.example"), "eu.example/pay");
        assert_eq!(target("/pay", "not a host"), "/pay");
        assert_eq!(target("/pay", ""), "/pay");
    }
}
