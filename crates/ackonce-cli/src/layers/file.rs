//! The file of `--config`: keys named as the flags are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::Value;

use super::{is_setting, values};
use crate::refusal::Refusal;

/// The similarity from which a name is offered for a misspelt one (Jaro-Winkler, 0 to 1), as clap does for flags.
const NEAR: f64 = 0.7;

/// The settings of a file, as text that the flags' own parsers take; none without a file.
#[derive(Debug, Default)]
pub(super) struct File {
    path: PathBuf,
    values: BTreeMap<String, Vec<String>>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, Refusal> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Refusal::environment(format!("--config: the file {shown} cannot be read: {error}"))
        })?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            // Its own display prints the line, which may hold a secret.
            let line =
                error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            Refusal::usage(format!("--config: {shown}, line {line}: {}", error.message()))
        })?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let texts = texts(&value).ok_or_else(|| {
                Refusal::usage(format!("--config: {shown}: `{key}` {}", not_a_value(&value)))
            })?;
            // Both spellings are one key, as they are one variable.
            if values.insert(key.replace('_', "-"), texts).is_some() {
                return Err(Refusal::usage(format!("--config: {shown}: `{key}` is given twice")));
            }
        }
        Ok(Self { path: path.to_owned(), values })
    }

    /// Refuses unknown keys, and values that their flags would not take, even where another layer goes over them: a file
    /// with a fault must not begin to matter the day on which a variable is gone.
    pub(super) fn check(&self, subcommand: &Command) -> Result<(), Refusal> {
        let shown = self.path.display();
        for (key, texts) in &self.values {
            let Some(arg) = subcommand
                .get_arguments()
                .filter(|arg| is_setting(arg))
                .find(|arg| arg.get_long() == Some(key))
            else {
                let known: Vec<_> = subcommand.get_arguments().filter(|arg| is_setting(arg)).collect();
                let known = known.iter().filter_map(|arg| arg.get_long());
                return Err(Refusal::usage(format!("--config: {shown}: {}", unknown(key, known))));
            };
            values::check(arg, key, texts)
                .map_err(|why| Refusal::usage(format!("--config: {shown}: {why}")))?;
        }
        Ok(())
    }

    /// The subcommand with the file's values as defaults.
    pub(super) fn under(&self, subcommand: Command) -> Command {
        subcommand.mut_args(|arg| {
            let texts = arg.get_long().filter(|_| is_setting(&arg)).and_then(|long| self.values.get(long));
            match texts.cloned() {
                // An argument with a default cannot be missing.
                Some(texts) => arg.required(false).default_values(texts),
                None => arg,
            }
        })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) if !values.is_empty() => values.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

fn not_a_value(value: &Value) -> &'static str {
    match value {
        Value::Table(_) => "is a table; all settings are at the top level of the file",
        Value::Array(_) => "is an empty or nested list; leave it out, or list texts and numbers",
        _ => "is a date; write a text, a number, true or false",
    }
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = nearest(key, known.clone());
    match near {
        Some(near) => format!("no setting has the name `{key}`; the nearest one is `{near}`"),
        None => {
            let known: Vec<_> = known.collect();
            format!("no setting has the name `{key}`; there are {}", known.join(", "))
        }
    }
}

/// The name that is most like this one, if any is alike.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    scored.filter(|(score, _)| *score > NEAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
