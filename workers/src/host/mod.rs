//! A host that this worker serves: taken by a lease, held while it is renewed, left before it can end.
//!
//! Several workers may name the same host. One holds it; the others stand by and take over when its lease
//! is given back or runs out. That a worker died says nothing of the host: its machines go on.

mod hold;
mod hosts;
mod keep;
mod meet;
mod record;
mod watch;

pub use hosts::Hosts;

pub(crate) use hold::Hold;
pub(crate) use keep::{expire, keep};
pub(crate) use watch::{drift, reason, sight};
