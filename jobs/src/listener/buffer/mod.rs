//! Events that a listener keeps for whoever reads them.

mod known;
pub mod store;

pub use known::require;
pub use store::BufferEvent;
