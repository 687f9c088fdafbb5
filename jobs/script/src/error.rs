//! What a script can do wrong, with line, column and, where we know it, the remedy.

use rhai::{EvalAltResult, LexError, ParseError, ParseErrorType, Position};

use crate::limits::MESSAGE_BYTES;
use crate::missing;

/// Why a script gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The source is not a script. `line` and `column` count from 1; 0 means unknown.
    #[error("script does not compile: {message}{}", at(*line, *column))]
    Compile {
        /// Line of the fault.
        line: usize,
        /// Column of the fault, in characters.
        column: usize,
        /// What is wrong.
        message: String,
        /// What to write instead, where that is known.
        hint: Option<&'static str>,
    },
    /// The script failed while it ran. `line` and `column` as above.
    #[error("script failed: {message}{}", at(*line, *column))]
    Runtime {
        /// Line of the operation that failed.
        line: usize,
        /// Its column.
        column: usize,
        /// What is wrong; for a `throw`, what was thrown.
        message: String,
    },
    /// The script ran longer than it may.
    #[error("script ran longer than {limit_ms} ms{}", at(*line, *column))]
    TimeLimit {
        /// The limit, in milliseconds.
        limit_ms: u64,
        /// Where it was stopped.
        line: usize,
        /// Where it was stopped.
        column: usize,
    },
    /// The script needs more memory than it may have.
    #[error("script needs more than {limit_bytes} bytes of memory{}", at(*line, *column))]
    MemoryLimit {
        /// The limit, in bytes.
        limit_bytes: usize,
        /// Where it was stopped.
        line: usize,
        /// Where it was stopped.
        column: usize,
    },
    /// A size is over its limit.
    #[error("{subject} is over the limit of {limit} {}", subject.unit())]
    TooLarge {
        /// What is too large.
        subject: Subject,
        /// The limit, in the subject's unit.
        limit: usize,
    },
    /// A fault of the interpreter, caught; the script got no result.
    #[error("script broke the interpreter and was stopped")]
    Panic,
    /// The executable did not install the counting allocator, so memory could not be bounded.
    #[error(
        "scripts are refused: this executable does not count memory; install `script::CountingAllocator` as its global allocator"
    )]
    NotAccounted,
    /// The operating system gave no thread to run the script on; trying again later helps.
    #[error("script could not be started: the system has no thread for it now")]
    NoThread,
}

/// What was too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The source.
    Source,
    /// The variables together, as JSON text.
    Input,
    /// The nesting of the variables.
    InputDepth,
    /// The result, as JSON text.
    Output,
    /// The nesting of the result.
    OutputDepth,
}

impl Subject {
    const fn unit(self) -> &'static str {
        match self {
            Self::Source | Self::Input | Self::Output => "bytes",
            Self::InputDepth | Self::OutputDepth => "levels",
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "the script's source",
            Self::Input => "the script's input",
            Self::InputDepth => "the nesting of the script's input",
            Self::Output => "the script's result",
            Self::OutputDepth => "the nesting of the script's result",
        })
    }
}

fn at(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(" (line {line}, column {column})") }
}

/// Line and column, both 0 when unknown.
pub(crate) fn place(position: Position) -> (usize, usize) {
    (position.line().unwrap_or(0), position.position().unwrap_or(0))
}

/// A message of bounded length, cut at a character.
pub(crate) fn clip(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

impl ScriptError {
    /// The word under which it is counted; a script that gave a result is counted as `ok`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Compile { .. } => "compile",
            Self::Runtime { .. } => "error",
            Self::TimeLimit { .. } => "time_limit",
            Self::MemoryLimit { .. } => "memory_limit",
            Self::TooLarge { .. } => "too_large",
            Self::Panic => "panic",
            Self::NotAccounted | Self::NoThread => "not_run",
        }
    }
}

impl From<ParseError> for ScriptError {
    fn from(error: ParseError) -> Self {
        let (line, column) = place(error.position());
        let hint = hint(error.err_type());
        Self::Compile { line, column, message: clip(error.err_type().to_string()), hint }
    }
}

fn hint(fault: &ParseErrorType) -> Option<&'static str> {
    match fault {
        ParseErrorType::Reserved(word) | ParseErrorType::BadInput(LexError::ImproperSymbol(word, _)) => {
            match word.as_str() {
                "eval" => Some("code made at run time is not allowed: write it out"),
                "import" | "export" => Some("a script stands alone: put the functions into it"),
                "print" | "debug" => {
                    Some("a script has no output but its result: make what you want to see part of it")
                }
                "this" => Some("`this` is not available: pass the value as an argument"),
                "await" | "async" => Some("a script does not wait: use a delay node"),
                "var" => Some("declare variables with `let`"),
                "null" => Some("write `()` for null"),
                "new" => Some("write an object as `#{ key: value }`"),
                _ => None,
            }
        }
        ParseErrorType::UnexpectedEOF => Some("a brace, bracket or quote is not closed"),
        ParseErrorType::MissingToken(token, _) if token == ";" => {
            Some("statements end with `;`, and an object is written `#{ key: value }`")
        }
        ParseErrorType::MissingToken(token, _) if matches!(token.as_str(), "}" | "]" | ")") => {
            Some("a brace, bracket or quote is not closed")
        }
        ParseErrorType::ExprTooDeep => Some("split the expression with `let`"),
        ParseErrorType::LoopBreak => Some("use `return` outside a loop"),
        _ => None,
    }
}

/// What was thrown, as people read it. Of a map or a list only that it was one: a script that throws its
/// input would else put every secret in it into logs and dead letters.
fn told(thrown: &rhai::Dynamic) -> String {
    if thrown.is_map() || thrown.is_array() || thrown.is_blob() {
        return format!("it threw a {}; throw a text that says what is wrong", thrown.type_name());
    }
    crate::json::brief(thrown, MESSAGE_BYTES)
}

/// The innermost cause of a run-time error of `source` over `vars`, with its place.
pub(crate) fn runtime(error: EvalAltResult, source: &str, vars: &[(&str, serde_json::Value)]) -> ScriptError {
    let (line, column) = place(error.position());
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => runtime(*inner, source, vars),
        EvalAltResult::ErrorPropertyNotFound(name, position) => {
            ScriptError::Runtime { line, column, message: clip(missing::told(source, position, &name, vars)) }
        }
        EvalAltResult::ErrorParsing(fault, position) => ParseError(Box::new(fault), position).into(),
        EvalAltResult::ErrorRuntime(thrown, _) => {
            ScriptError::Runtime { line, column, message: clip(told(&thrown)) }
        }
        mut other => {
            // The place is told apart from the message, so it is not told twice.
            other.clear_position();
            ScriptError::Runtime { line, column, message: clip(other.to_string()) }
        }
    }
}
