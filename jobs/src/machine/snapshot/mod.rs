//! Snapshots: the points to which a machine can be put back.

mod ask;
pub mod store;

pub use ask::{Ask, MAX_DESCRIPTION_CHARS, MAX_SNAPSHOTS, ask, create};
pub use store::Snapshot;
