//! The wall between tenants: what Postgres itself keeps apart, the roles, and a walk over every operation.

mod catalogue;
mod policies;
mod roles;
pub(crate) mod walk;
