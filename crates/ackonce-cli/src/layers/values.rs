//! Values of the environment and of files, judged before they become defaults: clap would name the flag, which nobody gave.

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

use super::say::said;
use super::{takes_value, variable};
use crate::refusal::Refusal;

/// The fault of an argument's values, in a sentence that names `place` in place of the flag.
pub(super) fn check(arg: &Arg, place: &str, texts: &[String]) -> Result<(), String> {
    const NAME: &str = "value";
    let mut alone = Arg::new(NAME)
        .long(NAME)
        .value_name("VALUE")
        .action(arg.get_action().clone())
        .value_parser(arg.get_value_parser().clone());
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let given = texts.iter().map(|text| format!("--{NAME}={text}"));
    let command = Command::new("ackonce").no_binary_name(true).arg(alone);
    let Err(mut error) = command.try_get_matches_from(given) else { return Ok(()) };
    // A list where one value can be.
    if error.kind() == clap::error::ErrorKind::ArgumentConflict {
        return Err(format!("`{place}` is a list, where one value can be"));
    }
    error.insert(ContextKind::InvalidArg, ContextValue::String(place.to_owned()));
    let sentence = said(&error);
    // An error that a parser of ours has written begins with the flag.
    Err(match sentence.strip_prefix("--value <VALUE>: ") {
        Some(why) => format!("{place}: {why}"),
        None => sentence,
    })
}

/// Refuses a variable whose value its flag would not take.
pub(super) fn check_environment(subcommand: &Command) -> Result<(), Refusal> {
    for arg in subcommand.get_arguments().filter(|arg| takes_value(arg)) {
        let Some(name) = arg.get_long().map(variable) else { continue };
        let Some(value) = std::env::var_os(&name) else { continue };
        let value = value
            .into_string()
            .map_err(|_| Refusal::usage(format!("the variable {name} of the environment is not UTF-8")))?;
        check(arg, &name, &[value]).map_err(|why| Refusal::usage(format!("environment: {why}")))?;
    }
    Ok(())
}
