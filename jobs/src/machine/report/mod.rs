//! What a worker writes while it performs operations and looks at machines, each under its host's epoch.

pub mod store;

pub use store::{Begun, Sight, Task};
