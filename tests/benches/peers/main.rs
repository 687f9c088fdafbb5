//! Measures Millrace beside its peers on one durable private Postgres. Called with a verb it is Millrace's side.
//!
//! Without one it starts the server and hands over to `run.py`, which calls every peer, this executable among them, with
//! the verbs of `play.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reports by printing, and a fault ends it"
)]

mod millrace;
mod play;
mod server;
mod starts;
mod verbs;

use crate::millrace::Millrace;

/// Counts what each thread holds, by which scripts are bounded, as in the executable.
#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if arguments.is_empty() {
        let ended = runtime.block_on(server::beside(server::harness));
        std::process::exit(ended);
    }
    if arguments[0] == "idle" {
        tracing::subscriber::set_global_default(starts::Spans).unwrap();
    }
    runtime.block_on(play::play::<Millrace>(&arguments));
}
