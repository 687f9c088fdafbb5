//! Hosts: what each has, who holds it, and whether new work is begun on it.
//!
//! A host is held by a lease (`host:<id>`). Only its holder claims from the host's pools and reports what
//! it sees, each report under the lease's epoch.

mod name;
pub mod store;

pub use name::lease_name;
pub use store::{Host, Registered};
