//! Facts told to people while they happen: what they are about, who may hear them, and from where on.

mod admit;
mod cursor;
mod topic;

pub use admit::{needed, own, told_to};
pub use cursor::{BadCursor, Cursor, MAX_CURSOR_BYTES, Snapshot};
pub use topic::{BadRoom, Topic, TopicKind};
