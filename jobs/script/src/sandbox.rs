//! Compiles and runs scripts, each on a thread of its own, and names what went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::{AST, Dynamic, Engine, Scope};
use serde_json::Value;

use crate::cache::{Cache, Key};
use crate::clock::thread_cpu;
use crate::convert::{self, Refusal};
use crate::error::{self, ScriptError, Subject};
use crate::guard::{self, Trip};
use crate::limits::{Limits, STACK_BYTES};
use crate::{alloc, engine};

/// Runs scripts. One serves a whole process; share it in an `Arc`.
///
/// Every call blocks its thread for as long as the script runs, at most the limit and a little.
pub struct Sandbox {
    engine: Engine,
    limits: Limits,
    cache: Cache,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// From the first operation to the last, conversions included, compilation not.
    pub wall: Duration,
    /// How long of that a processor worked on it, which no load of the machine lengthens.
    pub cpu: Duration,
    /// The most heap that the script held at one time, in bytes.
    pub peak_bytes: usize,
}

struct Ran {
    outcome: Result<Value, ScriptError>,
    usage: Usage,
}

impl Sandbox {
    /// A sandbox with the given limits.
    pub fn new(limits: Limits) -> Self {
        Self { engine: engine::build(&limits), limits, cache: Cache::default() }
    }

    /// Whether `code` compiles as a script, for the editor and for saving.
    ///
    /// # Errors
    /// [`ScriptError::Compile`] with line and column, or [`ScriptError::TooLarge`].
    pub fn check(&self, code: &str) -> Result<(), ScriptError> {
        self.on_thread(|| self.compiled(code, false).map(drop))?
    }

    /// Whether `code` compiles as a single expression, as [`Self::eval_bool`] takes it.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_expression(&self, code: &str) -> Result<(), ScriptError> {
        self.on_thread(|| self.compiled(code, true).map(drop))?
    }

    /// Runs a script over the given variables; the value of its last expression, or of `return`,
    /// is the result.
    ///
    /// # Errors
    /// Any [`ScriptError`].
    pub fn run(&self, code: &str, vars: &[(&str, Value)]) -> Result<Value, ScriptError> {
        self.run_measured(code, vars).0
    }

    /// As [`Self::run`], with what it took. A run that was refused before it began took nothing.
    pub fn run_measured(&self, code: &str, vars: &[(&str, Value)]) -> (Result<Value, ScriptError>, Usage) {
        self.start(code, vars, false)
    }

    /// Evaluates one expression that says yes or no.
    ///
    /// # Errors
    /// Any [`ScriptError`]; [`ScriptError::Runtime`] when the value is neither `true` nor `false`.
    pub fn eval_bool(&self, expression: &str, vars: &[(&str, Value)]) -> Result<bool, ScriptError> {
        match self.start(expression, vars, true).0? {
            Value::Bool(answer) => Ok(answer),
            other => Err(unplaced(format!("the expression is {}, not `true` or `false`", kind(&other)))),
        }
    }

    fn start(
        &self,
        code: &str,
        vars: &[(&str, Value)],
        expression: bool,
    ) -> (Result<Value, ScriptError>, Usage) {
        let nothing = Usage { wall: Duration::ZERO, cpu: Duration::ZERO, peak_bytes: 0 };
        if !alloc::installed() {
            return (Err(ScriptError::NotAccounted), nothing);
        }
        if let Err(refused) = convert::measure(vars, &self.limits) {
            return (Err(refused), nothing);
        }
        let ran = self.on_thread(|| {
            let ast = self.compiled(code, expression)?;
            Ok(self.evaluate(&ast, code, vars))
        });
        match ran {
            Ok(Ok(ran)) => (ran.outcome, ran.usage),
            Ok(Err(error)) | Err(error) => (Err(error), nothing),
        }
    }

    /// Runs `work` on a thread whose stack is deep enough for all that the limits admit. A stack
    /// that overflows ends the process, whatever the language, so its size must be known.
    fn on_thread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, ScriptError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("script".into())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || catch_unwind(AssertUnwindSafe(work)))
                .map_err(|_| ScriptError::NoThread)?;
            thread.join().and_then(|caught| caught).map_err(|_| ScriptError::Panic)
        })
    }

    fn compiled(&self, code: &str, expression: bool) -> Result<Arc<AST>, ScriptError> {
        if code.len() > self.limits.source_bytes {
            return Err(ScriptError::TooLarge { subject: Subject::Source, limit: self.limits.source_bytes });
        }
        let key = Key { expression, source: code.into() };
        if let Some(ast) = self.cache.get(&key) {
            return Ok(ast);
        }
        let before = alloc::live();
        let ast = if expression { self.engine.compile_expression(code) } else { self.engine.compile(code) };
        let ast = Arc::new(ast?);
        let bytes = usize::try_from(alloc::live().wrapping_sub(before)).unwrap_or(0);
        self.cache.put(key, &ast, bytes);
        Ok(ast)
    }

    fn evaluate(&self, ast: &AST, code: &str, vars: &[(&str, Value)]) -> Ran {
        guard::arm(&self.limits);
        let (begun, worked) = (Instant::now(), thread_cpu());
        let outcome = catch_unwind(AssertUnwindSafe(|| self.guarded(ast, code, vars)));
        let (wall, cpu) = (begun.elapsed(), thread_cpu().saturating_sub(worked));
        let (tripped, peak_bytes) = guard::disarm();
        let outcome = match (tripped, outcome) {
            (_, Err(_)) => Err(ScriptError::Panic),
            (Some(trip), Ok(outcome)) => Err(self.stopped(trip, outcome.err())),
            (None, Ok(outcome)) => outcome,
        };
        Ran { outcome, usage: Usage { wall, cpu, peak_bytes } }
    }

    fn guarded(&self, ast: &AST, code: &str, vars: &[(&str, Value)]) -> Result<Value, ScriptError> {
        let mut scope = Scope::new();
        for (name, value) in vars {
            let value = convert::to_dynamic(value).map_err(|trip| self.stopped(trip, None))?;
            scope.push_dynamic(*name, value);
        }
        let result: Dynamic = self
            .engine
            .eval_ast_with_scope(&mut scope, ast)
            .map_err(|error| error::runtime(*error, code, vars))?;
        // What the result does not share with the variables is freed before it is copied out.
        drop(scope);
        let mut left = self.limits.output_bytes;
        convert::to_json(&result, self.limits.depth, &mut left).map_err(|refusal| match refusal {
            Refusal::Stopped(trip) => self.stopped(trip, None),
            Refusal::TooLarge => {
                ScriptError::TooLarge { subject: Subject::Output, limit: self.limits.output_bytes }
            }
            Refusal::TooDeep => {
                ScriptError::TooLarge { subject: Subject::OutputDepth, limit: self.limits.depth }
            }
            Refusal::NoJsonForm(kind) => {
                unplaced(format!("the result is a `{kind}`, which has no JSON form"))
            }
            Refusal::Nul => {
                unplaced("a text in the result holds the character U+0000, which cannot be stored")
            }
        })
    }

    /// The guard's verdict, with the place where the interpreter noticed it.
    fn stopped(&self, trip: Trip, noticed: Option<ScriptError>) -> ScriptError {
        let (line, column) = match noticed {
            Some(
                ScriptError::Runtime { line, column, .. }
                | ScriptError::TimeLimit { line, column, .. }
                | ScriptError::MemoryLimit { line, column, .. },
            ) => (line, column),
            _ => (0, 0),
        };
        match trip {
            Trip::Time => {
                let limit_ms = u64::try_from(self.limits.time.as_millis()).unwrap_or(u64::MAX);
                ScriptError::TimeLimit { limit_ms, line, column }
            }
            Trip::Memory => ScriptError::MemoryLimit { limit_bytes: self.limits.memory_bytes, line, column },
        }
    }
}

/// A fault of the whole script, at no place in it.
fn unplaced(message: impl Into<String>) -> ScriptError {
    ScriptError::Runtime { line: 0, column: 0, message: message.into() }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
