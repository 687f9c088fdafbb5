//! The log of events: told of after the commit, read by what is visible, removed when it is old.

mod listen;
mod place;
pub mod store;

pub use listen::listen;
pub use place::shows_all;
pub use store::{Event, Kept, MAX_EVENTS, MAX_MISSED, Missed, Page};
