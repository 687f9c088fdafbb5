//! The audit in Postgres: noted where something is done, put into the chain of its tenant by a job, read by
//! auditors, dropped by months.
//!
//! [`note`] is for what the API does in a transaction, [`store::take_in`] for what operators do in one and for what was
//! gathered; [`flush`] chains all of it.

mod flush;
pub mod look;
pub mod month;
pub mod store;
mod verify;

pub use flush::{FLUSH_MAX, Flushed, flush};
pub use store::{Note, note};
pub use verify::{Verdict, verify};
