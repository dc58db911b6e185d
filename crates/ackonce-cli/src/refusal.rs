//! The two ways in which the program ends without having done its work.

/// Why a subcommand could not begin, or could not go on. One sentence, with the setting's name and the fix; never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A setting is wrong, by itself or beside another one: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The settings are fine, but a server, a file, a port or a right is missing: exit code 3.
    #[error("{0}")]
    Environment(String),
}

impl Refusal {
    /// A wrong setting.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::Usage(sentence.into())
    }

    /// A fault outside of the settings.
    pub fn environment(sentence: impl Into<String>) -> Self {
        Self::Environment(sentence.into())
    }

    /// The exit code of the process: 2 or 3.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Environment(_) => 3,
        }
    }
}
