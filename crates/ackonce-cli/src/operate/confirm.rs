//! Consent to a change: `--yes`, or an answer at the terminal.

use std::io::{IsTerminal as _, Write as _};

use super::args::ConsentArgs;
use crate::refusal::Refusal;

/// Asks for consent to the change of so many. False if there are none: those that come since were not shown to anybody.
///
/// # Errors
/// As [`ask`].
pub(super) fn ask_of(number: u64, consent: ConsentArgs, change: &str) -> Result<bool, Refusal> {
    if number > 0 {
        ask(consent, change)?;
    }
    Ok(number > 0)
}

/// Shows the change on standard error, and asks for consent unless `--yes` gives it.
///
/// # Errors
/// No consent: exit code 2.
pub(super) fn ask(consent: ConsentArgs, change: &str) -> Result<(), Refusal> {
    if consent.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Refusal::usage(format!(
            "{change}: nobody can be asked without a terminal; nothing was changed; add --yes to go on"
        )));
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "{change}. Go on? [y/N] ").and_then(|()| std::io::stderr().flush());
    let read = asked.and_then(|()| std::io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) => Ok(()),
        Ok(_) => Err(Refusal::usage("nothing was changed")),
        Err(error) => Err(Refusal::environment(format!("the answer cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_that_was_shown_is_nothing_that_may_be_changed() {
        assert!(!ask_of(0, ConsentArgs { yes: false }, "x").unwrap());
        assert!(ask_of(1, ConsentArgs { yes: true }, "x").unwrap());
    }
}
