//! The months of the audit: made ahead of time, dropped when they need not be kept.

mod store;

pub use store::{drop_oldest, ensure};
