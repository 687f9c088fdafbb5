//! The same asked of many machines at once: as many statements as of one, and an outcome for each.

mod ask;
mod store;

pub use ask::{MAX_MACHINES, RequestEach, RequestedEach, request_each};
