//! The name of a step.

/// The longest name of a step, in bytes.
pub(super) const MAX_NAME_LEN: usize = 100;

/// The name of a step, and the version of its outcome; a text is the name of version 0.
///
/// The name is the step's identity across deploys, its place in the handler is not: steps may be reordered, added and left
/// out. A record whose version is another than the handler's is an error that names both: raise it when an old outcome
/// must not be taken for a new one.
///
/// ```
/// use ackonce::StepName;
///
/// let charge = StepName::new("charge").with_version(2);
/// assert_eq!(StepName::from("charge"), StepName::new("charge"));
/// assert_ne!(StepName::from("charge"), charge);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepName {
    pub(super) name: String,
    pub(super) version: u32,
}

impl StepName {
    /// A name of 1 to 100 bytes without `/` and control characters; [`Context::step`](crate::Context::step) refuses others.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), version: 0 }
    }

    /// The same, with another version of its outcome (default 0).
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// The rule that the name breaks.
    pub(super) fn fault(&self) -> Option<String> {
        let name = &self.name;
        match () {
            () if name.is_empty() => Some("the name of a step is empty".to_owned()),
            () if name.len() > MAX_NAME_LEN => Some(format!(
                "the name of a step has {} bytes, at most {MAX_NAME_LEN} are allowed",
                name.len()
            )),
            () if name.contains('/') || name.contains(char::is_control) => Some(format!(
                "the name of the step {name:?} has a control character or `/`, which stands before the names of inner steps"
            )),
            () => None,
        }
    }
}

impl From<&str> for StepName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for StepName {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}
