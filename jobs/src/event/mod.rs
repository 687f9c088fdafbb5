//! The log of events: told of after the commit, read by what is visible, removed when it is old.

mod listen;
pub mod store;

pub use listen::listen;
pub use store::{Event, Kept, MAX_EVENTS, Page};
