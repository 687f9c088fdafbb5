//! The fault matrix: real workers and a real Postgres, broken in every way that the promise names, under a steady
//! load; and a table of what became of the jobs.
//!
//! Without arguments it plays the short form that the gate can afford, with `--all` the whole. Any other argument
//! is a part of the names of the faults to play; `crash-points` ends processes at each of those, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests report by panicking, and this one by its table"
)]

mod clock;
mod crashes;
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
use futures::future::join_all;
use tests::{Own, Postgres};

use crate::fault::Fault;
use crate::ledger::Books;
use crate::stage::Form;

/// How long after a fault's end the rate may take to come back: the full one; in the short form, which runs beside
/// whatever else the machine does, half of the rate before the fault.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How many faults of the short form are played beside each other, each on a server of its own: most of their time they
/// wait. Of the whole form each has the machine for itself.
const LANES: usize = 3;

/// The part that ends processes between statements.
const CRASHES: &str = "crash-points";

/// What is told of one fault.
struct Told {
    place: usize,
    line: String,
    broken: Vec<String>,
}

/// What became of the jobs of one fault.
pub(crate) struct Row {
    pub(crate) jobs: u64,
    pub(crate) books: Books,
    /// Seconds from the end of the fault to the full rate, if it came back.
    pub(crate) back_s: Option<f64>,
    /// Seconds from the end of the fault to half of the rate before it, if it came back.
    pub(crate) half_back_s: Option<f64>,
}

impl Row {
    /// Whether the rate that the form asks for was back in time.
    fn is_back(&self, form: Form) -> bool {
        let back = form.pick(self.half_back_s, self.back_s);
        back.is_some_and(|s| s <= BACK_WITHIN.as_secs_f64())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let form = if arguments.iter().any(|a| a == "--all") { Form::Whole } else { Form::Short };
    let mut parts: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let crashes = if parts.is_empty() { form == Form::Whole } else { parts.contains(&CRASHES) };
    let crashes_alone = parts == [CRASHES];
    parts.retain(|part| *part != CRASHES);
    let chosen = |fault: &Fault| match parts.as_slice() {
        [] => form == Form::Whole || fault.is_in_short_form(),
        parts => parts.iter().any(|part| fault.name().contains(part)),
    };
    let faults: Vec<Fault> =
        if crashes_alone { Vec::new() } else { Fault::ALL.into_iter().filter(chosen).collect() };
    if faults.is_empty() && !crashes {
        let names: Vec<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
        println!("no fault is called like {parts:?}; there are:\n  {}", names.join("\n  "));
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut faulty = Vec::new();
    if crashes {
        faulty.extend(runtime.block_on(crashes::play_all()));
    }
    if !faults.is_empty() {
        faulty.extend(runtime.block_on(play_all(&faults, form)));
    }
    if faulty.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nbroken promises:\n  {}", faulty.join("\n  "));
    ExitCode::FAILURE
}

/// Plays them and prints the table; returns what was not as promised.
async fn play_all(faults: &[Fault], form: Form) -> Vec<String> {
    let lanes = form.pick(LANES, 1).min(faults.len());
    let of_lane = |lane| faults.iter().copied().enumerate().skip(lane).step_by(lanes);
    let played = join_all((0..lanes).map(|lane| play_in_turn(of_lane(lane), form))).await;
    let mut told: Vec<Told> = played.into_iter().flatten().collect();
    told.sort_by_key(|told| told.place);
    let lines: Vec<&str> = told.iter().map(|told| told.line.as_str()).collect();
    println!("\n{HEADER}\n{}", lines.join("\n"));
    told.into_iter().flat_map(|told| told.broken).collect()
}

/// Plays them one after the other.
async fn play_in_turn(faults: impl Iterator<Item = (usize, Fault)>, form: Form) -> Vec<Told> {
    let mut all = Vec::new();
    let mut own: Option<Own> = None;
    for (place, fault) in faults {
        if let Some(why) = fault.missing() {
            let line = format!("| {} | not played: {why} | | | | | |", fault.name());
            all.push(Told { place, line, broken: vec![format!("{}: not played: {why}", fault.name())] });
            continue;
        }
        let began = Instant::now();
        let mut row = play(&mut own, fault, form).await;
        let mut faulty = Vec::new();
        if form == Form::Short && row.as_ref().is_some_and(|row| !row.is_back(form)) {
            // Once may be the doing of what else runs here, twice is ours.
            // The jobs' fate is of both: what is lost once is lost.
            faulty.extend(row.iter().flat_map(|row| harm(fault, row)));
            println!("{}: THE RATE WAS LATE; ONCE MORE", fault.name());
            row = play(&mut own, fault, form).await;
        }
        let line = match row {
            Some(row) => {
                faulty.extend(broken(fault, &row, form));
                line(fault, &row)
            }
            None => {
                faulty.push(format!("{}: broke off", fault.name()));
                format!("| {} | broke off, see above | | | | | |", fault.name())
            }
        };
        println!("{line} took {:.0} s", began.elapsed().as_secs_f64());
        all.push(Told { place, line, broken: faulty });
    }
    all
}

/// Plays one, on the server that is there or on one of its own; none when it broke off.
async fn play(own: &mut Option<Own>, fault: Fault, form: Form) -> Option<Row> {
    let ground = match own.take() {
        Some(own) => own,
        None => Postgres::own().await,
    };
    let row = AssertUnwindSafe(fault.play(&ground, form)).catch_unwind().await.ok();
    *own = Some(ground).filter(|_| row.is_some() && !fault.spoils_the_server());
    row
}

const HEADER: &str =
    "| fault | jobs | lost | run twice | stale writes accepted | late (slowest) | seconds to the full rate |
| --- | --- | --- | --- | --- | --- | --- |";

fn line(fault: Fault, row: &Row) -> String {
    let Row { jobs, books, back_s, half_back_s: _ } = row;
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
    let mut broken = harm(fault, row);
    if !row.is_back(form) {
        let (which, back_s) =
            form.pick(("half of the rate before the fault", row.half_back_s), ("the full rate", row.back_s));
        let limit = BACK_WITHIN.as_secs();
        broken.push(format!("{}: {which} was not back within {limit} s: {back_s:?}", fault.name()));
    }
    broken
}

/// What became of the jobs that must not.
fn harm(fault: Fault, row: &Row) -> Vec<String> {
    let books = &row.books;
    let mut harm = Vec::new();
    let mut expect = |kept: bool, what: String| {
        if !kept {
            harm.push(format!("{}: {what}", fault.name()));
        }
    };
    expect(books.lost == 0, format!("{} lost", books.lost));
    expect(books.stale == 0, format!("{} stale writes accepted", books.stale));
    expect(books.left == 0, format!("{} rows are left in the queue", books.left));
    if fault.runs_once() {
        expect(books.run_twice == 0, format!("{} run twice", books.run_twice));
        expect(books.expired == 0, format!("{} leases ran out", books.expired));
    }
    harm
}
