//! The log of a run, which only grows.

mod store;

pub use store::{Line, NewLine, append, jobs_of, outputs, outputs_of, page, pages};
