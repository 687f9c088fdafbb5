//! Sessions: what a login begins, and the tokens by which it goes on.

pub mod store;

pub use store::{Presented, Session};
