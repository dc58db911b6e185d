//! Settings in layers: a flag, over the environment's `ACKONCE_NAME`, over the file of `--config`, over the default.
//!
//! A subcommand takes part by flattening [`Sources`] into its arguments. Each of its flags with a value is then also a
//! variable of the environment (`--max-body-bytes` is `ACKONCE_MAX_BODY_BYTES`) and a key of the file
//! (`max-body-bytes = 65536`, at the top level). The layers become defaults of clap's own arguments, so one parser judges
//! the values of all of them, and `--help` shows the names.

mod file;
mod say;
mod secrets;
mod settings;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, Parser};

use crate::refusal::Refusal;
use file::File;
use say::said;
pub use secrets::redacted;
pub use settings::{EffectiveSettings, Origin, Setting};

/// The flags about the settings themselves, of every subcommand that has layers.
#[derive(Debug, Clone, Default, Args)]
pub struct Sources {
    /// Read settings from this file; a flag or a variable of the environment goes over it
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Print each setting with its origin, the promise with everything that weakens it, and end
    #[arg(long)]
    pub check: bool,
}

/// A command line that was understood, with its layers.
#[derive(Debug)]
pub struct Layered<P> {
    /// The parsed arguments.
    pub program: P,
    /// Each setting of the subcommand with its origin; empty for a subcommand without layers.
    pub settings: EffectiveSettings,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The text of `--help` or `--version`.
    #[error(transparent)]
    Clap(#[from] clap::Error),
    /// A setting is wrong, or the file cannot be read.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Parses a command line of the program `P` with all layers.
///
/// # Errors
/// [`Stop`].
pub fn parse<P: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Layered<P>, Stop> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut command = with_environment(P::command());
    // Only looks for the subcommand and its file: whatever is wrong is found again below.
    let first = command.clone().ignore_errors(true).try_get_matches_from(&arguments);
    let layered = first.as_ref().ok().and_then(ArgMatches::subcommand);
    let layered = layered.filter(|(name, _)| command.find_subcommand(name).is_some_and(has_layers));
    let (name, file) = match layered {
        Some((name, matches)) => {
            let file = matches.get_one::<PathBuf>(CONFIG).map(|path| File::read(path)).transpose()?;
            (Some(name.to_owned()), file.unwrap_or_default())
        }
        None => (None, File::default()),
    };
    if let Some(subcommand) = name.as_deref().and_then(|name| command.find_subcommand(name)) {
        file.check(subcommand)?;
        values::check_environment(subcommand)?;
    }
    if let Some(name) = &name {
        command = command.mut_subcommand(name, |subcommand| file.under(subcommand));
    }
    let matches = command.clone().try_get_matches_from(&arguments).map_err(|error| match &name {
        // The text of `--help`, where there is nothing to run.
        _ if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Stop::Clap(error)
        }
        Some(_) => Stop::Refused(Refusal::usage(fixed(&error))),
        None => Stop::Refused(Refusal::usage(said(&error))),
    })?;
    let settings = match (matches.subcommand(), &name) {
        (Some((name, matches)), Some(_)) => {
            command.find_subcommand(name).map(|subcommand| EffectiveSettings::of(subcommand, matches, &file))
        }
        _ => None,
    };
    let program = P::from_arg_matches(&matches)?;
    Ok(Layered { program, settings: settings.unwrap_or_default() })
}

/// The sentence on a command line, with the other places for a setting that is missing.
fn fixed(error: &clap::Error) -> String {
    let sentence = said(error);
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            format!("{sentence}; set them as flags, as variables ACKONCE_NAME, or in the file of --config")
        }
        _ => sentence,
    }
}

/// The argument that a subcommand with layers has.
const CONFIG: &str = "config";

fn has_layers(subcommand: &Command) -> bool {
    subcommand.get_arguments().any(|arg| arg.get_id() == CONFIG)
}

/// True for a flag with a value, which can stand in the environment.
fn takes_value(arg: &Arg) -> bool {
    arg.get_long().is_some() && arg.get_action().takes_values()
}

/// True for a flag that can stand in a file, too.
fn is_setting(arg: &Arg) -> bool {
    takes_value(arg) && arg.get_id() != CONFIG
}

/// `--max-body-bytes` is `ACKONCE_MAX_BODY_BYTES`.
fn variable(long: &str) -> String {
    format!("ACKONCE_{}", long.replace(['-', '.'], "_").to_ascii_uppercase())
}

/// Gives each setting its variable. Values of the environment are not shown by `--help`: one may be a secret.
fn with_environment(command: Command) -> Command {
    command.mut_subcommands(|subcommand| match has_layers(&subcommand) {
        false => subcommand,
        true => subcommand.mut_args(|arg| match arg.get_long().filter(|_| takes_value(&arg)).map(variable) {
            Some(variable) => arg.env(variable).hide_env_values(true),
            None => arg,
        }),
    })
}

#[cfg(test)]
mod tests;
