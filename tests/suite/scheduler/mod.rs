//! The scheduler: one leader whatever dies, history ahead of time, nothing outlived kept.

mod clock;
mod leader;
mod outlived;
