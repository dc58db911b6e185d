//! The program `ackonce`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;

use ackonce_cli::Refusal;
use ackonce_cli::console::{self, ConsoleVerb};
use ackonce_cli::demo::{self, DemoArgs, UsageError, Verdict, WorkerArgs};
use ackonce_cli::doctor::{self, DoctorArgs};
use ackonce_cli::layers::{self, Layered, Stop};
use ackonce_cli::operate::{self, OperateVerb};
use ackonce_cli::proxy::{self, ProxyArgs};
use ackonce_cli::relay::{self, RelayArgs};
use ackonce_cli::watch::{self, WatchArgs};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

/// At-least-once delivery in, exactly-once effects out
///
/// Ackonce records each processed message ID before the message is acknowledged, so that a redelivery finds the
/// record and is acknowledged without running its handler again.
#[derive(Debug, Parser)]
#[command(name = "ackonce", version)]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Console(Box<ConsoleVerb>),
    Demo(Box<DemoArgs>),
    Doctor(Box<DoctorArgs>),
    Proxy(Box<ProxyArgs>),
    Relay(Box<RelayArgs>),
    #[command(flatten)]
    Operate(Box<OperateVerb>),
    Watch(Box<WatchArgs>),
    #[command(hide = true)]
    DemoWorker(WorkerArgs),
}

/// The run was ended or could not be finished; there is no verdict.
const NO_VERDICT: u8 = 3;

fn main() -> ExitCode {
    let Layered { program, settings } = match layers::parse::<Program>(std::env::args_os()) {
        Ok(layered) => layered,
        Err(Stop::Clap(error)) => error.exit(),
        Err(Stop::Refused(refusal)) => return refused(&refusal),
    };
    let answer = match program.verb {
        Verb::Console(args) => {
            return console::run(&args, &settings)
                .map_or_else(|refusal| refused(&refusal), |()| ExitCode::SUCCESS);
        }
        Verb::Proxy(args) => {
            return proxy::run(&args, &settings)
                .map_or_else(|refusal| refused(&refusal), |()| ExitCode::SUCCESS);
        }
        Verb::Operate(verb) => {
            return operate::run(&verb, &settings, Program::command())
                .map_or_else(|e| refused(&e), |()| ExitCode::SUCCESS);
        }
        Verb::Watch(args) => {
            return watch::run(&args, &settings).map_or_else(|e| refused(&e), |()| ExitCode::SUCCESS);
        }
        Verb::Demo(args) => demo::run(&args),
        Verb::Doctor(args) => {
            return doctor::run(&args, &settings).map_or_else(|e| refused(&e), |verdict| verdict.into());
        }
        Verb::DemoWorker(args) => demo::run_worker(&args).map(|()| Verdict::Kept),
        Verb::Relay(args) => {
            return relay::run(&args, &settings).map_or_else(|e| refused(&e), |()| ExitCode::SUCCESS);
        }
    };
    match answer {
        Ok(Verdict::Kept) => ExitCode::SUCCESS,
        Ok(Verdict::Broken) => ExitCode::FAILURE,
        Err(error) => match error.downcast_ref::<UsageError>() {
            Some(usage) => Program::command().error(ErrorKind::ArgumentConflict, usage).exit(),
            None => {
                ackonce_cli::note(format_args!("error: {}", ackonce_cli::tell(&error)));
                ExitCode::from(NO_VERDICT)
            }
        },
    }
}

fn refused(refusal: &Refusal) -> ExitCode {
    ackonce_cli::note(format_args!("error: {refusal}"));
    ExitCode::from(refusal.exit_code())
}
