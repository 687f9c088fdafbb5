//! What may happen, decided purely: no database, no runtime, no clock, no randomness.
//!
//! Time and randomness are arguments. Everything here can be tested with values alone; the crate
//! `jobs` keeps what is decided here in Postgres.

pub mod access;
pub mod apikey;
pub mod audit;
pub mod dag;
pub mod event;
pub mod health;
pub mod id;
pub mod kept;
pub mod listener;
pub mod machine;
pub mod nearest;
pub mod queue;
pub mod redact;
pub mod schedule;
pub mod seal;
pub mod signature;
pub mod unique;
