//! What a worker writes while it makes a check, under its host's epoch.

pub mod store;

pub use store::{Begun, Found, Previous, Recorded, Task};
