//! Looks after runs that wait for a job which is gone.

mod store;
mod walk;

pub use walk::{Beat, patrol};
