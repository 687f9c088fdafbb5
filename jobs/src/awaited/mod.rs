//! Who waits for the end of an operation or of a check: nodes of runs, which are told in the transaction of
//! that end.

mod store;
mod tell;
mod why;

pub use store::{Awaited, Waiter, wait};
pub(crate) use tell::tell_missed;
pub use tell::{check_ended, operation_ended, operations_ended};
pub use why::{NodeWaits, waits};
