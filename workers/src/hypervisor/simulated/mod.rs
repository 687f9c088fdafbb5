//! The simulated host: what tests speak to where a real one could not be made to fail at a given point.

mod host;
mod late;
mod load;
mod readings;
mod world;

pub use host::{Crash, Simulated};
pub use readings::{Most, Readings};
