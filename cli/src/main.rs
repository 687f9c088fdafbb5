//! The operator's door: parses the command, runs it, and turns its end into an exit code.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "talking to a terminal is this program's duty")]

mod admin;
mod command;
mod demo;
mod dlq;
mod doctor;
mod down;
mod home;
mod job;
mod migrate;
mod queue;
mod roles;
mod settings;
mod table;
mod up;
mod webhook;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jobs::config::Faults;
use rules::queue::Pool;

use crate::command::{Cli, Command};
use crate::roles::Roles;

/// Counts what each thread holds, by which scripts are bounded.
#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

/// The exit code for wrong arguments, which clap uses too, and wrong configuration.
const MISCONFIGURED: u8 = 2;

/// How long threads that block may take to end after all else has.
const LAST_THREADS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("millrace: threads cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(cli.command));
    // A call to a host that hangs cannot be taken back, and its thread must not keep the program.
    runtime.shutdown_timeout(LAST_THREADS);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: {error}");
            if let Some(cause) = cause(&error) {
                eprintln!("  because: {cause}");
            }
            if error.is::<Faults>() { ExitCode::from(MISCONFIGURED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up => up::run().await,
        Command::Down => Ok(down::down()?),
        Command::Reset { yes } => Ok(down::reset(yes)?),
        Command::Api => roles::run(&Roles { api: true, ..Roles::default() }).await,
        Command::Worker { pools } => roles::run(&Roles { pools: distinct(pools), ..Roles::default() }).await,
        Command::Scheduler => roles::run(&Roles { scheduler: true, ..Roles::default() }).await,
        Command::Migrate => migrate::run().await,
        Command::Demo => demo::run().await,
        Command::Doctor(output) => doctor::run(output).await,
        Command::Admin(command) => admin::run(command).await,
        Command::Job(command) => job::run(command).await,
        Command::Queue(command) => queue::run(command).await,
        Command::Dlq(command) => dlq::run(command).await,
        Command::Webhook(command) => webhook::run(command),
    }
}

/// Each pool once, in the order given.
fn distinct(pools: Vec<Pool>) -> Vec<Pool> {
    let mut seen = Vec::new();
    for pool in pools {
        if !seen.contains(&pool) {
            seen.push(pool);
        }
    }
    seen
}

/// The innermost cause, where it says more than the message: an operator has no other log of this
/// command. A database's own words hold no secret of ours.
fn cause(error: &anyhow::Error) -> Option<String> {
    let said = error.to_string();
    let root = error.root_cause().to_string();
    (!said.contains(&root)).then_some(root)
}
