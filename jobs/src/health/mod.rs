//! The health of machines: which checks are due, what they found, and how a machine is as a whole.
//!
//! [`schedule`] is what the scheduler's duty does, [`report`] what a worker writes, [`ask`] how somebody has a
//! machine checked now.

mod ask;
mod job;
pub mod report;
pub mod schedule;
pub mod statistics;
pub mod store;

pub use ask::{Asked, ask};
pub use store::{CheckView, HealthView, ResultView, hold};
