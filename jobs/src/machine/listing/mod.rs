//! Compares what hosts know of machines with what is recorded.

pub mod store;

pub use store::Recorded;
