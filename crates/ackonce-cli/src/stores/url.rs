//! A store's URL in parts: `scheme:place?name=value&name=value`.

use std::time::Duration;

/// The schemes there are.
const SCHEMES: &str = "there are memory:, sqlite:, redis://, rediss://, redis+cluster://, rediss+cluster://, \
     redis+unix:// and postgres://";

/// A store's URL could not be parsed. Each error names the part to change, and none repeats a possible secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `scheme:` in front.
    #[error("it does not begin with a scheme; {SCHEMES}")]
    NoScheme,
    /// Nobody knows the scheme.
    #[error("no store has the scheme `{0}:`; {SCHEMES}")]
    UnknownScheme(String),
    /// Nothing is named after the scheme.
    #[error("`sqlite:` needs the path of a file after it, such as sqlite:dedup.db")]
    NoPath,
    /// No server is named after the scheme.
    #[error("`{0}:` needs a server after it, such as {0}://localhost")]
    NoServer(String),
    /// Something is named where nothing can be.
    #[error("`memory:` takes nothing after it")]
    Unexpected,
    /// An `@` or `?` behind the first `?`: probably a password that was not encoded, so nothing of it is shown.
    #[error("there is a `@` or `?` among the options; percent-encode user and password (%40, %3F)")]
    NotEncoded,
    /// An option without `=`.
    #[error("the option `{0}` has no value; write {0}=VALUE")]
    NoValue(String),
    /// An option nobody knows, or one given twice.
    #[error("the option `{name}` is {why}")]
    Option {
        /// Its name.
        name: String,
        /// The fault found in it.
        why: String,
    },
    /// A value that the option cannot have.
    #[error("`{value}` is no value of the option `{name}`, which is {expected}")]
    Value {
        /// The option's name.
        name: String,
        /// The value.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// The store's own reason.
    #[error("{0}")]
    Refused(String),
}

/// The parts of a URL.
pub(super) struct Parts<'u> {
    pub(super) scheme: &'u str,
    pub(super) place: &'u str,
    pub(super) options: Vec<(&'u str, &'u str)>,
}

impl<'u> Parts<'u> {
    /// Nothing is decoded: a path is the text between `:` and `?`, byte for byte.
    pub(super) fn of(text: &'u str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::NoScheme)?;
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') {
            return Err(UrlError::NoScheme);
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if query.contains(['@', '?']) {
            return Err(UrlError::NotEncoded);
        }
        let mut options: Vec<(&str, &str)> = Vec::new();
        for option in query.split('&').filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once('=').ok_or_else(|| UrlError::NoValue(option.to_owned()))?;
            if options.iter().any(|(seen, _)| *seen == name) {
                return Err(UrlError::Option { name: name.to_owned(), why: "given twice".into() });
            }
            options.push((name, value));
        }
        Ok(Self { scheme, place, options })
    }

    pub(super) fn nothing_more(&self) -> Result<(), UrlError> {
        if self.place.is_empty() && self.options.is_empty() { Ok(()) } else { Err(UrlError::Unexpected) }
    }

    /// The URL for a driver: with those options only that are the driver's.
    pub(super) fn with_options(&self, of_driver: &[&str]) -> String {
        let options = self.options.iter().filter(|(name, _)| of_driver.contains(name));
        let options: Vec<_> = options.map(|(name, value)| format!("{name}={value}")).collect();
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{}:{}{mark}{}", self.scheme, self.place, options.join("&"))
    }

    /// The URL for display: everything but passwords.
    pub(super) fn redacted(&self) -> String {
        let options = self.options.iter().map(|(name, value)| {
            let value = if SECRET.contains(name) { "***" } else { value };
            format!("{name}={value}")
        });
        let options = options.collect::<Vec<_>>().join("&");
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{}:{}{mark}{options}", self.scheme, self.place_without_password())
    }

    /// A password is between the first `:` of the user part and its last `@`. Only servers have one.
    fn place_without_password(&self) -> String {
        let server = self.place.strip_prefix("//").filter(|_| !matches!(self.scheme, "sqlite" | "memory"));
        match server.and_then(|server| server.rsplit_once('@')) {
            Some((user, host)) => {
                let secret = user.split_once(':').map_or("", |_| ":***");
                format!("//{}{secret}@{host}", user.split(':').next().unwrap_or_default())
            }
            None => self.place.to_owned(),
        }
    }
}

/// Options whose values are secrets.
const SECRET: [&str; 3] = ["password", "pass", "sslpassword"];

/// An option of no store.
pub(super) fn unknown(name: &str, known: &str) -> UrlError {
    UrlError::Option { name: name.to_owned(), why: format!("unknown; there are {known}") }
}

/// The value of an option as a time in milliseconds.
pub(super) fn millis(option: (&str, &str)) -> Result<Duration, UrlError> {
    number(option, "a number of milliseconds").map(Duration::from_millis)
}

/// The value of an option as one of some words.
pub(super) fn word<T: Copy>(
    (name, value): (&str, &str),
    expected: &'static str,
    words: &[(&str, T)],
) -> Result<T, UrlError> {
    let found = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| bad(name, value, expected))
}

/// The value of an option as a number of at least 1.
pub(super) fn number<T: std::str::FromStr + PartialOrd + From<u8>>(
    (name, value): (&str, &str),
    expected: &'static str,
) -> Result<T, UrlError> {
    value.parse().ok().filter(|n| *n >= T::from(1)).ok_or_else(|| bad(name, value, expected))
}

fn bad(name: &str, value: &str, expected: &'static str) -> UrlError {
    UrlError::Value { name: name.to_owned(), value: value.to_owned(), expected }
}
