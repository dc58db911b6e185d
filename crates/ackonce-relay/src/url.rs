//! URLs of sources and sinks in parts: `scheme://USER:PASSWORD@HOST,HOST/PATH?NAME=VALUE&…`.
//!
//! Written by hand, because a list of hosts is no URL for the parsers of others.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a URL of a source or a sink cannot be used: one sentence that names the part to change. It never repeats a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RelayUrlError(String);

impl RelayUrlError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

pub(crate) type Result<T, E = RelayUrlError> = std::result::Result<T, E>;

/// Prints a URL as its field `shown`, which has no password, for people and in traces.
macro_rules! shown {
    ($url:ident) => {
        impl std::fmt::Display for $url {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.shown)
            }
        }

        impl std::fmt::Debug for $url {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($url), "({})"), self.shown)
            }
        }
    };
}
pub(crate) use shown;

/// The parts of a URL with an authority.
#[derive(Debug)]
pub(crate) struct Parts<'u> {
    pub(crate) scheme: &'u str,
    /// `USER:PASSWORD`, not decoded.
    pub(crate) user: Option<&'u str>,
    pub(crate) hosts: &'u str,
    /// Without its first slash, not decoded.
    pub(crate) path: &'u str,
    options: Vec<(&'u str, String)>,
}

impl<'u> Parts<'u> {
    pub(crate) fn of(text: &'u str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            RelayUrlError::new("it has no `://` after its scheme, such as kafka://HOST:PORT/TOPIC")
        })?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        if query.contains(['@', '?']) || path.contains('@') {
            return Err(RelayUrlError::new(
                "there is a `@` or `?` behind its hosts; percent-encode user, password and values (%40, %3F, and %2F for a \
                 slash)",
            ));
        }
        if hosts.is_empty() {
            return Err(RelayUrlError::new(format!("it names no server; write {scheme}://HOST:PORT/…")));
        }
        Ok(Self { scheme, user, hosts, path, options: options(query)? })
    }

    /// The value of an option; it is there once at most.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>> {
        let mut all = self.take_all(name);
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(RelayUrlError::new(format!("its option `{name}` is there twice"))),
        }
    }

    /// The values of an option that may be there more than once.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<String> {
        self.take_if(|given| given == name).into_iter().map(|(_, value)| value).collect()
    }

    /// The options whose names begin with this, without it.
    pub(crate) fn take_with_prefix(&mut self, prefix: &str) -> Vec<(String, String)> {
        let taken = self.take_if(|name| name.len() > prefix.len() && name.starts_with(prefix));
        taken.into_iter().map(|(name, value)| (name[prefix.len()..].to_owned(), value)).collect()
    }

    fn take_if(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<(&'u str, String)> {
        let (taken, left) = std::mem::take(&mut self.options).into_iter().partition(|(name, _)| wanted(name));
        self.options = left;
        taken
    }

    /// Refuses options that nobody has taken.
    pub(crate) fn nothing_more(&self, known: &str) -> Result<()> {
        match self.options.first() {
            Some((name, _)) => {
                Err(RelayUrlError::new(format!("it has no option `{name}`; there are {known}")))
            }
            None => Ok(()),
        }
    }

    /// The option as a number.
    pub(crate) fn take_number<N: std::str::FromStr>(&mut self, name: &str) -> Result<Option<N>> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        let parsed = value.parse().map(Some);
        parsed.map_err(|_| {
            RelayUrlError::new(format!("its option `{name}` is no number in its range: `{value}`"))
        })
    }
}

fn options(query: &str) -> Result<Vec<(&str, String)>> {
    let each = query.split('&').filter(|option| !option.is_empty());
    each.map(|option| match option.split_once('=') {
        Some((name, value)) => Ok((name, decoded(value)?)),
        None => Err(RelayUrlError::new(format!("its option `{option}` has no value; write {option}=VALUE"))),
    })
    .collect()
}

/// Percent-decoded; it has to be UTF-8.
pub(crate) fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8().map(Cow::into_owned);
    decoded.map_err(|_| RelayUrlError::new("a percent-encoded part of it is not UTF-8"))
}

/// A URL for display: without its password, without a user who stands alone before the host of a service (there it is the
/// key), and without the values of options that may be secret.
#[must_use]
pub fn redacted(text: &str) -> String {
    let (place, query) = match text.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (text, None),
    };
    let mut shown = match place.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((user, server)) => match user.split_once(':') {
                Some((_, "")) => format!("{scheme}://***@{server}"),
                None if scheme.starts_with("http") => format!("{scheme}://***@{server}"),
                Some((user, _)) => format!("{scheme}://{user}:***@{server}"),
                None => place.to_owned(),
            },
            None => place.to_owned(),
        },
        None => place.to_owned(),
    };
    if let Some(query) = query {
        let options = query.split('&').map(|option| match option.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}=***"),
            // A value that was not encoded may be the end of a password.
            _ if option.contains('@') => "***".to_owned(),
            _ => option.to_owned(),
        });
        shown.push('?');
        shown.push_str(&options.collect::<Vec<_>>().join("&"));
    }
    shown
}

/// True if the value of an option of that name may be a secret. Names of environment variables are none.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let harmless = name.ends_with("-env") || name == "routing-key";
    !harmless
        && ["password", "secret", "token", "key", "pass", "auth", "sig"]
            .iter()
            .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_of_hosts_and_encoded_values_are_understood() {
        let mut parts =
            Parts::of("kafka://a:1,b:2/orders,bills?group=g%20h&kafka.acks=all&kafka.x=1").unwrap();
        assert_eq!((parts.scheme, parts.hosts, parts.path), ("kafka", "a:1,b:2", "orders,bills"));
        assert_eq!(parts.take("group").unwrap().as_deref(), Some("g h"));
        assert_eq!(parts.take_with_prefix("kafka.").len(), 2);
        parts.nothing_more("none").unwrap();
        let parts = Parts::of("amqp://u:p%40x@h/%2f").unwrap();
        assert_eq!((parts.user, parts.hosts, parts.path), (Some("u:p%40x"), "h", "%2f"));
    }

    #[test]
    fn a_malformed_url_is_refused_with_the_part_to_change() {
        for (url, part) in [
            ("orders", "no `://`"),
            ("kafka:///t", "names no server"),
            ("kafka://h/t?group", "`group` has no value"),
            ("kafka://h/t?group=%ff", "not UTF-8"),
            ("amqp://u:p?x@h/v", "percent-encode"),
            ("amqp://u:p/x@h/v", "percent-encode"),
        ] {
            let why = Parts::of(url).unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains("p?x") && !why.contains("p/x"), "{url}: {why}");
        }
        let mut twice = Parts::of("kafka://h/t?group=a&group=b").unwrap();
        assert!(twice.take("group").unwrap_err().to_string().contains("twice"));
        let parts = Parts::of("kafka://h/t?groop=a").unwrap();
        assert_eq!(
            parts.nothing_more("group").unwrap_err().to_string(),
            "it has no option `groop`; there are group"
        );
    }

    #[test]
    fn no_secret_is_shown() {
        for (url, shown) in [
            ("amqp://u:secret@h:1/%2f?queue=q", "amqp://u:***@h:1/%2f?queue=q"),
            ("kafka://h/t?group=g&kafka.sasl.password=secret", "kafka://h/t?group=g&kafka.sasl.password=***"),
            ("https://h/x?api_key=secret&a=b", "https://h/x?api_key=***&a=b"),
            ("amqp://u:se?cret@h/v", "amqp://u:se?***"),
            (
                "webhook://h/p?provider=stripe&secret-env=NAME",
                "webhook://h/p?provider=stripe&secret-env=NAME",
            ),
            ("amqp://h/v?exchange=e&routing-key=k", "amqp://h/v?exchange=e&routing-key=k"),
            ("http://secret@h/x", "http://***@h/x"),
            ("https://secret:@h/x", "https://***@h/x"),
            ("redis://:secret@h", "redis://:***@h"),
            ("amqp://guest@h/v?queue=q", "amqp://guest@h/v?queue=q"),
        ] {
            let text = redacted(url);
            assert!(text == shown || !url.contains("se?cret"), "{text}");
            assert!(!text.contains("secret") || url.contains("secret-env"), "{text}");
        }
    }
}
