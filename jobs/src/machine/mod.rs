//! Machines: what is wanted, what was asked for, what was seen.
//!
//! [`request`] is the one way to ask for anything: wanted state, generation, operation and job change in
//! one transaction; [`bulk`] asks the same of many at once. What a worker writes while it performs an
//! operation stands in [`report`], what it compares when it looks at a host in [`listing`].

mod alone;
pub mod bulk;
mod create;
mod key;
pub mod listing;
pub mod operation;
mod relocate;
pub mod report;
mod request;
pub mod snapshot;
pub mod store;

pub use create::{Missing, NewMachine, create, missing};
pub use key::order_key;
pub use operation::Operation;
pub use relocate::{Relocated, Relocation, relocate};
pub use request::{Request, Requested, request};
pub use store::Machine;
