//! The queue's statements: every file one step of a job's life, every function one statement.

pub mod ack;
pub mod claim;
pub mod control;
mod copy;
pub mod count;
mod done;
pub mod enqueue;
pub mod lease;
pub mod letters;
pub mod look;
pub mod partition;
pub mod promote;
pub mod prune;
pub mod rescue;
pub mod why;
pub mod worker;
