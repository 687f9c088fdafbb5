//! Figures of the checks of the whole installation, for whoever operates it.

mod store;

pub use store::{Statistics, statistics};
