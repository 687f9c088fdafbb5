//! How many pages the queue's statements touch: as few with a million rows as with a thousand.

mod growth;
mod hand_over;
mod role;

pub(crate) use growth::run;
