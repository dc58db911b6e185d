//! A store's URL in parts: `scheme:place?name=value&name=value`.

/// Why a store's URL was not understood. Each names the part to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `scheme:` in front.
    #[error("`{0}` does not begin with a scheme; write sqlite:PATH or memory:")]
    NoScheme(String),
    /// Nobody knows the scheme.
    #[error("no store has the scheme `{0}:`; there are sqlite: and memory:")]
    UnknownScheme(String),
    /// The scheme is of a store that this program is not built with.
    #[error("the scheme `{0}:` is not built in yet; there are sqlite: and memory:")]
    NotBuiltIn(String),
    /// Nothing is named after the scheme.
    #[error("`sqlite:` needs the path of a file after it, such as sqlite:dedup.db")]
    NoPath,
    /// Something is named where nothing can be.
    #[error("`memory:` takes nothing after it, and `{0}` is there")]
    Unexpected(String),
    /// An option without `=`.
    #[error("the option `{0}` has no value; write {0}=VALUE")]
    NoValue(String),
    /// An option nobody knows, or one given twice.
    #[error("the option `{name}` is {why}")]
    Option {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value that the option cannot have.
    #[error("`{value}` is no value of the option `{name}`, which is {expected}")]
    Value {
        /// The option's name.
        name: String,
        /// The value.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
}

/// The parts of a URL.
pub(super) struct Parts<'u> {
    pub(super) scheme: &'u str,
    pub(super) place: &'u str,
    pub(super) options: Vec<(&'u str, &'u str)>,
}

impl<'u> Parts<'u> {
    /// Nothing is decoded: a path is what stands between `:` and `?`, byte for byte.
    pub(super) fn of(text: &'u str) -> Result<Self, UrlError> {
        let no_scheme = || UrlError::NoScheme(text.to_owned());
        let (scheme, rest) = text.split_once(':').ok_or_else(no_scheme)?;
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') {
            return Err(no_scheme());
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
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
        let option = self.options.first().map(|(name, _)| *name);
        match option.or(Some(self.place).filter(|place| !place.is_empty())) {
            Some(extra) => Err(UrlError::Unexpected(extra.to_owned())),
            None => Ok(()),
        }
    }
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
