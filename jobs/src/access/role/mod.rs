//! Roles that a tenant makes for itself, and who has them.

pub mod store;

pub use store::{NewRole, OwnRole};
