//! Schedules: workflows that tenants want started at certain times, kept in Postgres.
//!
//! `save` makes and changes them, `fire` enters firings for ticks that are due, `begin` starts the run of one, and
//! `overdue` sees to runs that take too long, and to firings whose jobs are gone.

mod begin;
mod figures;
mod fire;
mod overdue;
mod save;
mod store;

pub use begin::{Begun, begin};
pub use figures::store::{Counts, counts, overdue_s};
pub use fire::{FIRINGS_BATCH, Fired, SCHEDULES_BATCH, fire_due};
pub use overdue::{OVERDUE_BATCH, see_to_overdue, see_to_waiting};
pub use save::{SaveError, Wish, clone, create, now, run, set_disabled, update};
pub use store::{Filter, Schedule, delete, get, page};
