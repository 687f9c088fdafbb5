//! Runs scripts that try to take more than they may, and proves that none does.
//!
//! `cargo test -p script --test attacks -- --nocapture` prints the table: what each was stopped by,
//! how long it ran, and the most memory that it held.

#![allow(clippy::print_stdout, reason = "the measured table is the point")]

mod depth;
mod interpreter;
mod memory;
mod size;
mod time;

use std::time::Duration;

use script::{Limits, Sandbox, ScriptError, Subject, Usage};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

/// The promise, and not a byte of slack.
const MEMORY_BYTES: usize = 16 << 20;
/// A machine under load can suspend a thread for long; a script that is not stopped at all runs for
/// minutes, so this tells the two apart without being fooled.
const WALL: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Compile,
    Runtime,
    Time,
    Memory,
    Source,
    Input,
    InputDepth,
    Output,
    OutputDepth,
    Panic,
    Fine,
    /// Which of the two limits it meets first is the machine's affair.
    TimeOrMemory,
    /// It may end well, because what it makes is cut short, or meet the clock on a slow machine.
    Bounded,
}

fn end(outcome: &Result<Value, ScriptError>) -> End {
    match outcome {
        Ok(_) => End::Fine,
        Err(ScriptError::Compile { .. }) => End::Compile,
        Err(ScriptError::Runtime { .. }) => End::Runtime,
        Err(ScriptError::TimeLimit { .. }) => End::Time,
        Err(ScriptError::MemoryLimit { .. }) => End::Memory,
        Err(ScriptError::TooLarge { subject, .. }) => match subject {
            Subject::Source => End::Source,
            Subject::Input => End::Input,
            Subject::InputDepth => End::InputDepth,
            Subject::Output => End::Output,
            Subject::OutputDepth => End::OutputDepth,
        },
        Err(ScriptError::Panic) => End::Panic,
        Err(other @ (ScriptError::NotAccounted | ScriptError::NoThread)) => panic!("{other}"),
    }
}

fn attack(
    sandbox: &Sandbox,
    name: &str,
    code: &str,
    expected: End,
    vars: &[(&str, Value)],
) -> Option<String> {
    let (outcome, Usage { wall, peak_bytes }) = sandbox.run_measured(&code.replace(S16, MAKE_S16), vars);
    let seen = end(&outcome);
    let what = outcome.map_or_else(|error| error.to_string(), |value| value.to_string());
    let what: String = what.chars().take(90).collect();
    println!("{name:<34} {seen:<13?} {:>9.2} ms {peak_bytes:>10} B  {what}", wall.as_secs_f64() * 1e3);
    let right = match expected {
        End::TimeOrMemory => matches!(seen, End::Time | End::Memory),
        End::Bounded => matches!(seen, End::Fine | End::Time | End::Memory),
        one => seen == one,
    };
    if !right {
        return Some(format!("{name}: expected {expected:?}, got {seen:?}: {what}"));
    }
    if peak_bytes > MEMORY_BYTES {
        return Some(format!("{name}: held {peak_bytes} bytes"));
    }
    (wall > WALL).then(|| format!("{name}: ran {wall:?}"))
}

/// What is asked of the kind of end alone is given time: a machine under load must not turn it into
/// another.
const PATIENT: Duration = Duration::from_secs(30);

fn all(table: &[(&str, &str, End)]) {
    let strict = Sandbox::new(Limits::default());
    let patient = Sandbox::new(Limits { time: PATIENT, ..Limits::default() });
    let faults: Vec<String> = table
        .iter()
        .filter_map(|(name, code, expected)| {
            let timed = matches!(expected, End::Time | End::TimeOrMemory | End::Bounded);
            attack(if timed { &strict } else { &patient }, name, code, *expected, &[])
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The sandbox is none the worse for it.
    assert_eq!(strict.run("1 + 1", &[]), Ok(json!(2)));
}

/// Stands in a script for the making of a text of 16 KiB, `s`.
const S16: &str = "<16K>";
const MAKE_S16: &str = r#"let s = "a"; for i in 0..14 { s += s; }"#;
