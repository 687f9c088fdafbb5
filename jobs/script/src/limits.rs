//! The named limits of the sandbox.

use std::time::Duration;

/// What a script may use. `Default` is what the product promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Processor time from the first operation to the last: what a loaded machine makes of it is no fault of the script.
    pub time: Duration,
    /// Heap that is never exceeded, in bytes, the variables and the result included. A script is stopped
    /// when it holds seven sixteenths of it, because one operation can double what it holds.
    pub memory_bytes: usize,
    /// Length of a source, in bytes of UTF-8. Parsing cannot be interrupted, so the source is short.
    pub source_bytes: usize,
    /// All variables together, as JSON text, in bytes.
    pub input_bytes: usize,
    /// The result as JSON text, in bytes.
    pub output_bytes: usize,
    /// Arrays and objects inside each other, in the variables and in the result.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(100),
            memory_bytes: 16 << 20,
            source_bytes: 64 << 10,
            input_bytes: 1 << 20,
            output_bytes: 1 << 20,
            depth: 32,
        }
    }
}

/// Functions of a script calling each other, deepest.
pub(crate) const CALL_LEVELS: usize = 32;
/// Expressions inside each other, deepest, outside and inside a function.
pub(crate) const EXPRESSION_DEPTH: usize = 64;
/// Variables of a script at one time.
pub(crate) const VARIABLES: usize = 512;
/// Functions that a script defines.
pub(crate) const FUNCTIONS: usize = 64;
/// Stack of the thread that compiles or runs a script, in bytes; only touched pages cost memory. The
/// deepest value that half of the memory can hold has about 200,000 levels, and each takes a kilobyte to
/// copy or drop in an unoptimised build; what the levels above admit needs a fraction of that.
pub(crate) const STACK_BYTES: usize = 256 << 20;
/// Compiled scripts kept, by number.
pub(crate) const CACHED_SCRIPTS: usize = 256;
/// Compiled scripts kept, by the heap that they take, in bytes.
pub(crate) const CACHED_BYTES: usize = 16 << 20;
/// Length of an error's message, in bytes: a script may throw a text of any length.
pub(crate) const MESSAGE_BYTES: usize = 1000;
