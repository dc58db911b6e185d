//! `ackonce completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::output;
use crate::refusal::Refusal;

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    ackonce completions bash > /etc/bash_completion.d/ackonce\n  \
    ackonce completions zsh > \"${fpath[1]}/_ackonce\"\n  \
    ackonce completions fish > ~/.config/fish/completions/ackonce.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, mut program: Command) -> Result<(), Refusal> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "ackonce", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
