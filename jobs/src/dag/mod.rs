//! A run's life, kept in Postgres: the run, its log, its inbox.

pub mod store;
