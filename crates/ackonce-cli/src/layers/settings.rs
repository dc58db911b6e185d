//! The effective settings, each with its origin.

use std::fmt;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::file::{File, nearest};
use super::secrets::redacted;
use super::{is_setting, variable};

/// The layer that a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag,
    /// This variable of the environment.
    Environment(String),
    /// This file.
    File(String),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name: that of the flag, without the dashes.
    pub name: String,
    /// Its value as it was written, without secrets; empty if it has none.
    pub value: String,
    /// The layer that the value is from.
    pub origin: Origin,
}

/// All settings of a subcommand, in the order of `--help`. Displayed as lines of name, value and origin.
#[derive(Debug, Clone, Default)]
pub struct EffectiveSettings {
    all: Vec<Setting>,
    misspelt: Vec<String>,
}

impl EffectiveSettings {
    pub(super) fn of(subcommand: &Command, matches: &ArgMatches, file: &File) -> Self {
        let longs: Vec<_> = subcommand
            .get_arguments()
            .filter(|arg| is_setting(arg))
            .filter_map(|arg| Some((arg.get_id().as_str(), arg.get_long()?)))
            .collect();
        let all = longs.iter().map(|(id, long)| Setting {
            name: (*long).to_owned(),
            value: value(matches, id),
            origin: match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Origin::Flag,
                Some(ValueSource::EnvVariable) => Origin::Environment(variable(long)),
                _ if file.has(long) => Origin::File(file.path().display().to_string()),
                _ => Origin::Default,
            },
        });
        let variables: Vec<_> = longs.iter().map(|(_, long)| variable(long)).collect();
        let known = || variables.iter().map(String::as_str);
        let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let misspelt = set
            .filter(|name| name.starts_with("ACKONCE_") && !known().any(|known| known == name))
            .filter_map(|name| {
                nearest(name.get(8..)?, known().filter_map(|k| k.get(8..)))
                    .map(|near| (near.to_owned(), name))
            })
            .map(|(near, name)| format!("{name} is no setting; the nearest one is ACKONCE_{near}"));
        let (all, misspelt) = (all.collect(), misspelt.collect());
        Self { all, misspelt }
    }

    /// The setting of this name, without dashes in front.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.all.iter().find(|setting| setting.name == name)
    }

    /// True if some layer sets it.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|setting| setting.origin != Origin::Default)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.all.iter()
    }

    /// A sentence for each variable of the environment that begins like a setting's and is none, but is close to one. Not a
    /// fault: container platforms set variables of their own after a service's name.
    #[must_use]
    pub fn misspelt(&self) -> &[String] {
        &self.misspelt
    }
}

/// All values of an argument, as they were written.
fn value(matches: &ArgMatches, id: &str) -> String {
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|value| redacted(&value.to_string_lossy())).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for EffectiveSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |setting: &Setting| match setting.value.is_empty() {
            true => "(none)".to_owned(),
            false => setting.value.clone(),
        };
        let width = |widest: fn(&Setting) -> usize| self.all.iter().map(widest).max().unwrap_or(0);
        // A long URL pushes its own origin away, not those of all.
        let (name, text) = (width(|s| s.name.len()), width(|s| s.value.len()).clamp(6, 40));
        for setting in &self.all {
            writeln!(f, "{:name$}  {:text$}  {}", setting.name, shown(setting), setting.origin)?;
        }
        self.misspelt.iter().try_for_each(|sentence| writeln!(f, "note: {sentence}"))
    }
}
