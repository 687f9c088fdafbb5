//! Runs scripts that try to take more than they may, and proves that none does.
//!
//! `cargo test -p script --test attacks -- --nocapture` prints the table: what each was stopped by,
//! how long it ran, how long of that a processor worked on it, and the most memory that it held.

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
/// What a script may work beyond its time. The clock is looked at before each operation, so one that began in time is
/// still finished, by code that tests build without optimisation: the longest, which quotes a text of four megabytes,
/// takes two thirds of this.
const SLACK: Duration = Duration::from_millis(300);
/// How often an attack may be tried to stay within its time: a processor that the machine beneath takes away is
/// counted as work. A script that is not stopped is not stopped at any try.
const TRIES: u32 = 3;

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

/// Where scripts attack.
struct Ring {
    /// With the time that they have.
    strict: Sandbox,
    time: Duration,
    /// With all the time that they need to come to their own end, for a machine under load must not turn it into
    /// another.
    patient: Sandbox,
}

impl Ring {
    fn new(time: Duration) -> Self {
        let limits = Limits::default();
        let strict = Sandbox::new(Limits { time, ..limits });
        Self { strict, time, patient: Sandbox::new(Limits { time: PATIENT, ..limits }) }
    }

    /// Runs one, and tells what it came to that it must not.
    fn attack(&self, name: &str, code: &str, expected: End, vars: &[(&str, Value)]) -> Option<String> {
        let timed = matches!(expected, End::Time | End::TimeOrMemory | End::Bounded);
        let code = code.replace(S16, MAKE_S16);
        let sandbox = if timed { &self.strict } else { &self.patient };
        let (outcome, Usage { wall, cpu, peak_bytes }) = sandbox.run_measured(&code, vars);
        let seen = end(&outcome);
        let what = outcome.map_or_else(|error| error.to_string(), |value| value.to_string());
        let what: String = what.chars().take(90).collect();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{name:<34} {seen:<13?} {:>9.2} ms {:>9.2} ms {peak_bytes:>10} B  {what}",
            ms(wall),
            ms(cpu)
        );
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
        self.overworked(&code, vars, cpu).map(|told| format!("{name}: {told}"))
    }

    /// Whether it is worked on for longer than it may, at every try; `worked` is what the first came to.
    fn overworked(&self, code: &str, vars: &[(&str, Value)], mut worked: Duration) -> Option<String> {
        for _ in 0..TRIES {
            if worked <= self.time + SLACK {
                return None;
            }
            let usage = self.strict.run_measured(code, vars).1;
            if usage.peak_bytes > MEMORY_BYTES {
                return Some(format!("held {} bytes", usage.peak_bytes));
            }
            worked = usage.cpu;
        }
        Some(format!("{worked:?} of work, where {:?} and {SLACK:?} are allowed", self.time))
    }
}

/// Longer than anything that ends by itself takes.
const PATIENT: Duration = Duration::from_secs(30);

fn all(table: &[(&str, &str, End)]) {
    let ring = Ring::new(Limits::default().time);
    let faults = table.iter().filter_map(|(name, code, expected)| ring.attack(name, code, *expected, &[]));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The sandbox is none the worse for it.
    assert_eq!(ring.strict.run("1 + 1", &[]), Ok(json!(2)));
}

/// Stands in a script for the making of a text of 16 KiB, `s`.
const S16: &str = "<16K>";
const MAKE_S16: &str = r#"let s = "a"; for i in 0..14 { s += s; }"#;
