//! Proves that a keyring is the one under which this installation's secrets are sealed.

mod prove;
pub mod store;

pub use prove::{Proof, keep, prove, tried};
