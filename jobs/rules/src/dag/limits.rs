//! The named limits of workflows and their runs.

/// Nodes of one workflow.
pub const MAX_NODES: usize = 500;

/// Edges of one workflow.
pub const MAX_EDGES: usize = 2_000;

/// A whole definition, in bytes of JSON: it is read by every process that performs a run of it.
pub const MAX_DEFINITION_BYTES: usize = 1 << 20;

/// The id of a node, an edge or a branch, in bytes: it stands in jobs and in every log entry.
pub const MAX_ID_BYTES: usize = 64;

/// The JSON Schema of a start node, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// Branches of one condition node.
pub const MAX_BRANCHES: usize = 50;

/// Conditions of one branch.
pub const MAX_CONDITIONS: usize = 50;

/// Output parameters of one end node.
pub const MAX_PARAMETERS: usize = 100;

/// Faults that one answer reports: a draft that is wrong throughout must not make an endless answer.
pub const MAX_FAULTS: usize = 200;

/// Seconds that one attempt of a node may take; a job of a node is given half a minute more.
pub const MAX_TIMEOUT_S: u64 = 300;

/// Seconds that a node may wait for what it ordered: no slot is held while it does.
pub const MAX_WAIT_S: u64 = 86_400;

/// Further attempts after a node's first.
pub const MAX_RETRIES: u64 = 10;

/// Seconds between two attempts of a node.
pub const MAX_RETRY_DELAY_S: u64 = 3_600;

/// Minutes in a fixed delay.
pub const MAX_DELAY_MINUTES: u64 = 1_440;

/// The longest fixed or dynamic delay, in milliseconds: all three parts at their most.
pub const MAX_DELAY_MS: u64 = MAX_DELAY_MINUTES * 60_000 + 59_999;

/// How far ahead a node may wait `until`, in days: a year and a day.
pub const MAX_UNTIL_DAYS: i64 = 366;

/// A run's input, in bytes of JSON: the largest event, and room for the names that an action's template puts
/// around it.
pub const MAX_INPUT_BYTES: usize = (256 + 16) << 10;

/// What one node puts out, in bytes of JSON.
pub const MAX_OUTPUT_BYTES: usize = 256 << 10;

/// What a node sees as `ctx`, in bytes of JSON: as much as a script takes.
pub const MAX_CONTEXT_BYTES: usize = 1 << 20;

/// End nodes of one workflow. What they put out is merged into the run's output when it ends, which this
/// and [`MAX_OUTPUT_BYTES`] bound.
pub const MAX_END_NODES: usize = 20;

/// An error as a log entry keeps it, in bytes.
pub const MAX_ERROR_BYTES: usize = 2_000;

/// One text that a test of a condition searches with a pattern, in bytes times the bytes of the compiled
/// pattern: the time of a match grows with both, and what is allowed takes tens of milliseconds at worst.
pub const MAX_MATCH_WORK: usize = 1 << 30;

/// A pattern of a condition when compiled, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256 << 10;

/// A pattern of a condition as it is written, in bytes.
pub const MAX_PATTERN_TEXT_BYTES: usize = 1_000;

/// All tests of one condition node together, in milliseconds; looked at before each.
pub const MAX_CONDITION_MS: u64 = 1_000;

/// Where in an input a fault is, as it is told, in bytes: names of members are the sender's.
pub const MAX_INPUT_PLACE_BYTES: usize = 200;

/// Faults of an input against its schema that are told.
pub const MAX_INPUT_FAULTS: usize = 20;

/// Cuts an error at [`MAX_ERROR_BYTES`], at a character.
pub fn clip(error: String) -> String {
    cut(error, MAX_ERROR_BYTES)
}

/// Cuts a text at so many bytes, at a character, and says so by a sign.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
