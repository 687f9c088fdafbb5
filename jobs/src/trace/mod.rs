//! What happened and why: logs for people and programs, and the context that ties them together.
//!
//! `context` is the W3C trace context that travels with a request into the jobs it causes and on into
//! theirs; `carry` hands it on; `subscriber` decides where log lines go and in which form.

mod carry;
mod context;
mod pool_wait;
mod subscriber;

pub use carry::{carried, carry};
pub use context::TraceContext;
pub use subscriber::{LogConfig, LogFormat, init};
