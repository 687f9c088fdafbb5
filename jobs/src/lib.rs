//! The heart: how what `rules` decides is kept in Postgres.
//!
//! Imports go downward only: `error, crash` ← `config, metrics, trace, shutdown` ← `db` ← `tenant, access, seal,
//! lease, workflow, idempotency` ← `queue` ← `event` ← `payload` ← `awaited, firing` ← `host, department, machine` ← `health` ←
//! `dag` ← `listener, schedule, audit, retention, sweep` ← `doctor`.

pub mod access;
pub mod audit;
pub mod awaited;
pub mod config;
pub mod crash;
pub mod dag;
pub mod db;
pub mod department;
pub mod doctor;
pub mod error;
pub mod event;
pub mod firing;
pub mod health;
pub mod host;
pub mod idempotency;
pub mod lease;
pub mod listener;
pub mod machine;
pub mod metrics;
pub mod payload;
pub mod queue;
pub mod retention;
pub mod schedule;
pub mod seal;
pub mod shutdown;
pub mod sweep;
pub mod tenant;
pub mod trace;
pub mod workflow;

pub use error::{Code, Error, Listing, Result};
