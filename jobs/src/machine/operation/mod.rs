//! Operations: what was asked of a machine, and what became of it.

mod entered;
pub mod store;

pub(super) use entered::NewOperation;
pub use store::{Operation, Waiting};
