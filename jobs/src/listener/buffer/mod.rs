//! Events that a listener keeps for whoever reads them.

pub mod store;

pub use store::BufferEvent;
