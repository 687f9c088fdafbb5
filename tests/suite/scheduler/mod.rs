//! The scheduler: one leader whatever dies, history ahead of time, nothing outlived kept.

pub(crate) mod clock;
mod leader;
mod outlived;
