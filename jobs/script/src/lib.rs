//! The script sandbox: Rhai under a real ceiling of time and memory.
//!
//! A script is a pure function from the variables that it is given to one JSON value. It reaches no
//! file, network, clock, randomness or other script. [`Sandbox`] compiles, caches and runs it.
//!
//! The ceilings are enforced by accounting, inside this process: every allocation of the thread that
//! runs the script is counted by [`CountingAllocator`], which the executable must install, and both
//! counter and deadline are looked at before every operation. An operation can at most double what
//! a script holds (functions that could do more ask first), so a script is stopped when it holds
//! a little less than half of the ceiling, and the ceiling itself is never passed. A process of its
//! own with a limit of the operating system would be the harder wall; this one costs microseconds.

pub mod alloc;
mod cache;
mod clock;
mod convert;
mod engine;
mod error;
mod guard;
mod json;
mod limits;
mod missing;
mod sandbox;
mod sequence;
mod text;

pub use alloc::CountingAllocator;
pub use error::{ScriptError, Subject};
pub use limits::Limits;
pub use sandbox::{Sandbox, Usage};
