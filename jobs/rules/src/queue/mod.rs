//! A job's life, decided purely: which kinds there are, what may follow what, and when to try again.

mod job;
mod kind;
mod outcome;
mod policy;
mod state;
mod why;

pub use job::Job;
pub use kind::{Kind, Pool, Priority, Queue, UnknownKind, UnknownPool};
pub use outcome::Outcome;
pub use policy::{LEASE_MS, MAX_CRASHES, Policy, RENEW_EVERY_MS};
pub use state::{Change, Illegal, State};
pub use why::{Facts, Why};
