//! Workflows as users edit them, and the versions that runs pin.

pub mod store;

pub use store::{Version, Workflow};
