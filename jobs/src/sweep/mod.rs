//! Sweeps of dead letters: one action on all that match, in batches, by a job of its own.
//!
//! `ask` begins one, `go_on` takes its next batch, `cancel` ends it; `redrive_edited` takes a single letter, with another
//! payload; the store holds the statements.

mod ask;
mod edited;
mod end;
mod go_on;
mod store;

pub use ask::{Wish, ask};
pub use edited::redrive_edited;
pub use end::{cancel, fail_abandoned, job_died};
pub use go_on::{Went, go_on};
pub use store::{SweepView, get, page};
