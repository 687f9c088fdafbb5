//! What is told while it happens: the log that it is read from, and those who listen.

mod again;
mod doors;
pub(crate) mod ends;
mod limits;
mod listen;
mod log;
mod nodes;
mod npm;
mod rooms;
mod unread;
