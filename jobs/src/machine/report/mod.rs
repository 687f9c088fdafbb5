//! What a worker writes while it performs operations and looks at machines, each under its host's epoch.

mod fail;
pub mod store;

pub use fail::fail;
pub use store::{Beginning, Begun, Ending, Sight, Task};
