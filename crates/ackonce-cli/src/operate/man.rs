//! `ackonce man`.

use std::path::PathBuf;

use clap::{Args, Command};

use super::output;
use crate::refusal::Refusal;

/// Print the manual page, of the program or of one of its commands
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    ackonce man show | man -l -\n  \
    ackonce man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Command to describe; by default the program
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs, program: Command) -> Result<(), Refusal> {
    // Names of pages are `ackonce-show`, and texts that clap makes when it builds are in them.
    let mut program = program;
    program.build();
    if let Some(dir) = &args.dir {
        return clap_mangen::generate_to(program, dir).map_err(|error| {
            Refusal::environment(format!("--dir: the pages cannot be written to {}: {error}", dir.display()))
        });
    }
    let page = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            let known: Vec<_> =
                program.get_subcommands().filter(|c| !c.is_hide_set()).map(Command::get_name).collect();
            Refusal::usage(format!("there is no command {name}; there are {}", known.join(", ")))
        })?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Refusal::environment(format!("the page cannot be made: {error}")))?;
    output::text(&String::from_utf8_lossy(&text))
}
