//! How many requests one address, user or API key may make, and what they are told of it.
//!
//! Each process counts for itself and in memory: a limit is of one node. Failed logins are counted elsewhere
//! ([`crate::auth`]), in the database and for all nodes.

mod hold;
mod known;
mod limit;
mod meter;
mod standing;

pub(crate) use hold::hold;
pub use limit::{BadRateLimit, RateLimit, RateLimits};
pub(crate) use meter::{Meters, network};
