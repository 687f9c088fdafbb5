//! What a listener heard, and what became of it.

pub mod store;

pub use store::{ActionRecord, ActionState, Notice, NoticeState};
