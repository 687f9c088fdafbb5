//! What stands in jobs: one file per domain, plain data that knows ids and never rows.

mod about;
pub mod audit;
pub mod health;
pub mod letter;
pub mod listener;
pub mod machine;
pub mod noop;
pub mod run;
pub mod schedule;

pub use about::about;
