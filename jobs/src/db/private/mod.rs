//! The private Postgres cluster that `up` and the tests run on when they are given no database.
//!
//! `Place` says where it lives, `Account` as whom it runs, `Binaries` with which programs, `Cluster`
//! opens and stops it, `UpLock` keeps two processes from one set of data. Nothing here is used
//! when `DATABASE_URL` names a database.

mod account;
mod binaries;
mod cluster;
mod command;
mod lock;
mod place;
mod postmaster;
mod settings;

pub use account::Account;
pub use binaries::{Binaries, MIN_MAJOR};
pub use cluster::{Cluster, MIN_FREE_BYTES};
pub use lock::UpLock;
pub use place::Place;
pub use settings::Options;
