//! A job's life, decided purely: which kinds there are, what may follow what, and when to try again.

mod about;
mod down;
mod job;
mod kind;
pub mod letter;
mod outcome;
mod policy;
mod pool;
mod state;
pub mod sweep;
mod why;

pub use about::About;
pub use down::{HostDown, Standing, Trouble};
pub use job::Job;
pub use kind::{Kind, Priority, Queue, UnknownKind};
pub use outcome::Outcome;
pub use policy::{LEASE_MS, MAX_CRASHES, Policy, RENEW_EVERY_MS};
pub use pool::{Class, FIRST_HOST_POOL, FIRST_OFF_QUEUE, Home, HostNo, MAX_HOSTS, Pool, UnknownPool};
pub use state::{Change, Illegal, State};
pub use why::{Delay, Facts, Why};
