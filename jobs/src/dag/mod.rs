//! A run's life, kept in Postgres: the run, its log, its inbox, and who moves it.

pub mod drive;
mod graphs;
pub mod inbox;
pub mod log;
pub mod patrol;
mod perform;
pub mod start;
pub mod store;

pub use graphs::Graphs;
