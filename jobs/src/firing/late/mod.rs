//! Firings that wait or run for too long.

pub mod store;
