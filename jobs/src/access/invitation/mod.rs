//! Invitations into a tenant.

pub mod store;

pub use store::{Invitation, NewInvitation};
