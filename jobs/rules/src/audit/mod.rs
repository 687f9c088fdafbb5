//! What auditors read: who asked for what and what became of it, and the chain that shows whether it still stands
//! as it was written.

mod arguments;
mod chain;
mod entry;

pub use arguments::{ARGUMENTS_BYTES_MAX, arguments};
pub use chain::{Anchor, BadHead, Broken, Fault, HASH_BYTES, Hash, Head, Link, Walk, hex_of, next_hash};
pub use entry::{Entry, INSTALLATION, NOBODY, Outcome, UnknownOutcome};
