//! The operator's door: parses the command, runs it, and turns its end into an exit code.

mod admin;
mod argument;
mod audit;
mod clock;
mod command;
mod confined;
mod demo;
mod dlq;
mod doctor;
mod down;
mod failure;
mod fleet;
mod home;
mod host;
mod hypervisor;
mod job;
mod known;
mod machine;
mod migrate;
mod power;
mod queue;
mod roles;
mod schedule;
mod secrets;
mod settings;
mod table;
mod up;
mod webhook;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use jobs::config::Faults;

use crate::command::{Cli, Command, ServedPool};
use crate::hypervisor::Served;
use crate::roles::Roles;

/// Counts what each thread holds, by which scripts are bounded.
#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

/// How long threads that block may take to end after all else has.
const LAST_THREADS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return failure::tell_usage(&said),
    };
    let json = cli.command.asks_for_json();
    let started =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("threads cannot be started");
    let ended = started.and_then(|runtime| {
        let ended = runtime.block_on(run(cli.command));
        // A call to a host that hangs cannot be taken back, and its thread must not keep the program.
        runtime.shutdown_timeout(LAST_THREADS);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::tell(&error, json),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up => up::run().await,
        Command::Down => Ok(down::down()?),
        Command::Reset { yes } => Ok(down::reset(yes)?),
        Command::Api => roles::run(&Roles { api: true, ..Roles::default() }).await,
        Command::Worker { pools, host, libvirt_uri } => {
            let host = host.zip(libvirt_uri).map(|(name, uri)| Served { name, uri });
            roles::run(&working(&pools, host)?).await
        }
        Command::Scheduler => roles::run(&Roles { scheduler: true, ..Roles::default() }).await,
        Command::Migrate(output) => migrate::run(output).await,
        Command::Demo => demo::run().await,
        Command::Doctor(output) => doctor::run(output).await,
        Command::Admin(command) => admin::run(command).await,
        Command::Job(command) => job::run(command).await,
        Command::Queue(command) => queue::run(command).await,
        Command::Dlq(command) => dlq::run(command).await,
        Command::Host(command) => host::run(command).await,
        Command::Machine(command) => machine::run(command).await,
        Command::Schedule(command) => schedule::run(command).await,
        Command::Audit(command) => audit::run(command).await,
        Command::Webhook(command) => webhook::run(command),
    }
}

/// The roles of a worker: each pool once, in the order given, and the host if it serves one.
fn working(pools: &[ServedPool], host: Option<Served>) -> Result<Roles, Faults> {
    let mut roles = Roles::default();
    for pool in pools {
        match pool {
            ServedPool::Fixed(pool) if !roles.pools.contains(pool) => roles.pools.push(*pool),
            ServedPool::Fixed(_) | ServedPool::Vm => {}
        }
    }
    match (pools.contains(&ServedPool::Vm), host) {
        (true, Some(host)) => roles.hosts.push(host),
        (false, None) => {}
        (true, None) => {
            let told = "the pool vm needs `--host NAME --libvirt-uri URI`: which host it operates, and where";
            return Err(Faults(vec![told.into()]));
        }
        (false, Some(_)) => {
            return Err(Faults(vec!["`--host` is served by the pool vm; add it to `--pools`".into()]));
        }
    }
    Ok(roles)
}
