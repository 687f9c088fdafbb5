//! Firings: what came of each tick of a schedule, from its entry to the end of the run that it started.
//!
//! They stand below the runs, so that a run can tell its firing how it ended, in the transaction of its end.

mod end;
pub mod late;
mod list;
pub mod store;

pub use end::{failed, job_died, run_ended};
pub use list::FiringState;
pub use store::{Firing, by_schedule, by_schedules, get};
