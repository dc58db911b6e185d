//! The flags of the console, wherever it is served.

use ackonce_console::{AccessToken, ConsoleOptions, Writes};
use clap::{ArgAction, Args};

use crate::refusal::Refusal;

/// Flags of the console, of every subcommand that serves it.
#[derive(Debug, Clone, Default, Args)]
pub struct ConsoleArgs {
    /// Let the console redrive and forget records, each with a name and a reason; otherwise it only reads
    #[arg(long, value_name = "true|false", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub allow_writes: bool,
    /// Ask people for a token: env:NAME of a variable, or file:PATH; needed on an address that other hosts reach
    // Not parsed by clap, whose errors repeat the value: it may be the token itself.
    #[arg(long, value_name = "env:NAME|file:PATH")]
    pub console_token: Option<String>,
    /// Serve the console to browsers that know it by this name, too, such as ops.example.com behind a proxy
    #[arg(long = "console-host", value_name = "NAME", value_delimiter = ',')]
    pub console_hosts: Vec<String>,
}

impl ConsoleArgs {
    /// Settings of the console; the token is read now.
    ///
    /// # Errors
    /// A token that cannot be read or could be guessed, and names that are none.
    pub fn options(&self) -> Result<ConsoleOptions, Refusal> {
        let mut options = ConsoleOptions::default();
        options.writes = if self.allow_writes { Writes::Allowed } else { Writes::Refused };
        options.token = self.console_token.as_deref().map(token).transpose()?;
        for host in &self.console_hosts {
            if host.is_empty() || host.contains(['/', ':', '@', ' ']) {
                return Err(Refusal::usage(format!(
                    "--console-host {host}: write a name alone, without scheme and port, such as ops.example.com"
                )));
            }
        }
        options.hosts.clone_from(&self.console_hosts);
        Ok(options)
    }

    /// The first of its flags that was used.
    #[must_use]
    pub fn used(&self) -> Option<&'static str> {
        [
            (self.allow_writes, "--allow-writes"),
            (self.console_token.is_some(), "--console-token"),
            (!self.console_hosts.is_empty(), "--console-host"),
        ]
        .into_iter()
        .find_map(|(used, flag)| used.then_some(flag))
    }
}

/// The token at `env:NAME` or `file:PATH`.
pub(crate) fn token(place: &str) -> Result<AccessToken, Refusal> {
    let text = match place.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|_| {
            Refusal::environment(format!("--console-token: the variable {name} is not set, or is no text"))
        })?,
        Some(("file", path)) => std::fs::read_to_string(path).map_err(|error| {
            Refusal::environment(format!("--console-token: {path} cannot be read: {error}"))
        })?,
        // The value is not repeated.
        _ => {
            return Err(Refusal::usage(
                "--console-token: write the place of the token, env:NAME or file:PATH, not the token itself",
            ));
        }
    };
    text.trim().parse().map_err(|error| Refusal::usage(format!("--console-token, at {place}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_token(place: &str) -> Result<ConsoleOptions, Refusal> {
        ConsoleArgs { console_token: Some(place.to_owned()), ..ConsoleArgs::default() }.options()
    }

    #[test]
    fn a_token_is_read_from_its_place_and_never_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let options = with_token(&format!("file:{}", path.display())).unwrap();
        assert_eq!(options.token.unwrap().expose(), "0123456789abcdef");
        std::fs::write(&path, "hunter2").unwrap();
        for (place, code) in [
            (format!("file:{}", path.display()), 2),
            ("hunter2".to_owned(), 2),
            ("text:hunter2".to_owned(), 2),
            ("env:ACKONCE_NO_SUCH_VARIABLE".to_owned(), 3),
            ("file:/no/such/file".to_owned(), 3),
        ] {
            let refused = with_token(&place).unwrap_err();
            assert_eq!(refused.exit_code(), code, "{refused}");
            assert!(refused.to_string().contains("--console-token"), "{refused}");
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_host_is_a_name_alone() {
        for host in ["http://ops", "ops:80", "", "a b"] {
            let args = ConsoleArgs { console_hosts: vec![host.to_owned()], ..ConsoleArgs::default() };
            assert!(args.options().unwrap_err().to_string().contains("--console-host"), "{host}");
        }
    }
}
