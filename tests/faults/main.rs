//! The fault matrix: real workers and a real Postgres, broken in every way that the promise names, under a steady
//! load; and a table of what became of the jobs.
//!
//! Without arguments it plays the short form that the gate can afford, with `--all` the whole. Any other argument
//! is a part of the names of the faults to play.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests report by panicking, and this one by its table"
)]

mod clock;
mod disk;
mod fault;
mod leader;
mod ledger;
mod load;
mod process;
mod release;
mod server;
mod stage;
mod standby;
mod wire;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tests::{Own, Postgres};

use crate::fault::Fault;
use crate::ledger::Books;
use crate::stage::Form;

/// How long after a fault's end the full rate may take.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// The same in the short form, which runs on whatever else the machine does.
const BACK_WITHIN_SHORT: Duration = Duration::from_secs(30);

/// What became of the jobs of one fault.
pub(crate) struct Row {
    pub(crate) jobs: u64,
    pub(crate) books: Books,
    /// Seconds from the end of the fault to the full rate, if it came back.
    pub(crate) back_s: Option<f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let form = if arguments.iter().any(|a| a == "--all") { Form::Whole } else { Form::Short };
    let parts: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let chosen = |fault: &Fault| match parts.as_slice() {
        [] => form == Form::Whole || fault.is_in_short_form(),
        parts => parts.iter().any(|part| fault.name().contains(part)),
    };
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(chosen).collect();
    if faults.is_empty() {
        println!("no fault is called like {parts:?}");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let faulty = runtime.block_on(play_all(&faults, form));
    if faulty.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nbroken promises:\n  {}", faulty.join("\n  "));
    ExitCode::FAILURE
}

/// Plays them one after the other and prints the table; returns what was not as promised.
async fn play_all(faults: &[Fault], form: Form) -> Vec<String> {
    let mut faulty = Vec::new();
    let mut lines = Vec::new();
    let mut own: Option<Own> = None;
    for fault in faults {
        if let Some(why) = fault.missing() {
            lines.push(format!("| {} | not played: {why} | | | | | |", fault.name()));
            faulty.push(format!("{}: not played: {why}", fault.name()));
            continue;
        }
        let began = Instant::now();
        let ground = match own.take() {
            Some(own) => own,
            None => Postgres::own().await,
        };
        match AssertUnwindSafe(fault.play(&ground, form)).catch_unwind().await {
            Ok(row) => {
                faulty.extend(broken(*fault, &row, form));
                lines.push(line(*fault, &row));
                own = Some(ground).filter(|_| !fault.spoils_the_server());
            }
            Err(_) => {
                lines.push(format!("| {} | broke off, see above | | | | | |", fault.name()));
                faulty.push(format!("{}: broke off", fault.name()));
            }
        }
        println!("{} took {:.0} s", lines.last().unwrap(), began.elapsed().as_secs_f64());
    }
    println!("\n{HEADER}\n{}", lines.join("\n"));
    faulty
}

const HEADER: &str =
    "| fault | jobs | lost | run twice | stale writes accepted | late (slowest) | seconds to the full rate |
| --- | --- | --- | --- | --- | --- | --- |";

fn line(fault: Fault, row: &Row) -> String {
    let Row { jobs, books, back_s } = row;
    let back = back_s.map_or("never".to_owned(), |s| format!("{s:.1}"));
    format!(
        "| {} | {jobs} | {} | {} | {} | {} ({:.1} s) | {back} |",
        fault.name(),
        books.lost,
        books.run_twice,
        books.stale,
        books.late,
        books.slowest_s
    )
}

/// What of the promise a row breaks.
fn broken(fault: Fault, row: &Row, form: Form) -> Vec<String> {
    let limit = form.pick(BACK_WITHIN_SHORT, BACK_WITHIN).as_secs_f64();
    let books = &row.books;
    let mut broken = Vec::new();
    let mut expect = |kept: bool, what: String| {
        if !kept {
            broken.push(format!("{}: {what}", fault.name()));
        }
    };
    expect(books.lost == 0, format!("{} lost", books.lost));
    expect(books.stale == 0, format!("{} stale writes accepted", books.stale));
    expect(books.left == 0, format!("{} rows are left in the queue", books.left));
    let back = row.back_s.is_some_and(|s| s <= limit);
    expect(back, format!("the full rate was not back within {limit} s: {:?}", row.back_s));
    if fault.runs_once() {
        expect(books.run_twice == 0, format!("{} run twice", books.run_twice));
        expect(books.expired == 0, format!("{} leases ran out", books.expired));
    }
    broken
}
