//! The name of the schema that has the tables.

use std::fmt;

use ackonce::{Error, ErrorKind, Result};

/// The name of the PostgreSQL schema of the tables; default `ackonce`.
///
/// A name has 1 to 63 bytes, the length that PostgreSQL keeps, without control characters, and does not begin
/// with `pg_`. It is quoted in every statement, so upper and lower case differ.
///
/// Stores with different schemas share nothing: take one per environment or tenant in a shared database. A renamed schema
/// keeps its records; a new one has forgotten all messages.
///
/// ```
/// use ackonce_postgres::SchemaName;
///
/// let schema = SchemaName::new("Dedup")?;
/// assert_eq!(schema.as_str(), "Dedup");
/// assert!(SchemaName::new("pg_dedup").is_err());
/// # Ok::<(), ackonce::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SchemaName {
    name: String,
    quoted: String,
}

impl SchemaName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): the name breaks the rules above.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        // PostgreSQL truncates longer names, so that two of them could become the same.
        let fits = (1..=63).contains(&name.len()) && !name.chars().any(char::is_control);
        if !fits || name.starts_with("pg_") {
            let message = format!(
                "postgres: {name:?} cannot name a schema: 1 to 63 bytes without control characters, not \
                 beginning with pg_"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        Ok(Self { name, quoted })
    }

    /// The name, not quoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The name, quoted for a statement.
    #[must_use]
    pub fn quoted(&self) -> &str {
        &self.quoted
    }
}

impl Default for SchemaName {
    fn default() -> Self {
        Self { name: "ackonce".into(), quoted: "\"ackonce\"".into() }
    }
}

impl fmt::Debug for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_or_refused() {
        for (name, quoted) in [
            ("ackonce", "\"ackonce\""),
            ("Mixed Case", "\"Mixed Case\""),
            ("x\"; DROP SCHEMA public; --", "\"x\"\"; DROP SCHEMA public; --\""),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(SchemaName::new(name).unwrap().quoted(), quoted);
        }
        for name in ["", "a\0b", "a\nb", "pg_temp", &"x".repeat(64)] {
            assert_eq!(SchemaName::new(name).unwrap_err().kind(), ErrorKind::Config, "{name:?}");
        }
    }
}
