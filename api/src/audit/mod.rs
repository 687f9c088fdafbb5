//! What the door tells the audit: who asked for what, and what became of it.
//!
//! A mutation that is done is noted in its own transaction ([`Deed`]); all else goes through a buffer in memory,
//! which is flushed as a job ([`Buffer`]).

mod buffer;
mod deed;
mod ledger;

pub(crate) use buffer::Buffer;
pub(crate) use deed::{Deed, begin, refuse_some};
pub(crate) use ledger::{Ledger, Refusal, Telling, denied, denied_room, refused, refused_credentials};
