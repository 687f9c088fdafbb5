//! Machines on simulated hosts, over a real queue.

mod bulk;
mod checks;
mod command;
mod disks;
mod gap;
mod hold;
mod late;
mod leave;
pub(crate) mod ledger;
pub(crate) mod life;
mod locks;
pub(crate) mod mortal;
mod once;
mod order;
mod relocation;
mod restart;
mod schedule;
pub(crate) mod stage;
pub(crate) mod storm;
mod stranger;
mod together;
