//! Sweeps of dead letters: one action on all that match, in batches, by a job of its own.
//!
//! `ask` begins one, `go_on` takes its next batch, `cancel` ends it; `redrive_edited` takes a single letter, with another
//! payload; the store holds the statements.

mod ask;
mod edited;
mod go_on;
mod store;

pub use ask::{Wish, ask};
pub use edited::redrive_edited;
pub use go_on::{Went, cancel, go_on, job_died};
pub use store::{SweepView, get, page};
