//! Tenants, and who belongs to them.

pub mod store;

pub use store::{Member, Tenant};
