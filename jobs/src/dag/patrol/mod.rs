//! Looks after runs that wait for a job which is gone.

mod store;
mod walk;

pub use store::{LeftBehind, left_behind};
pub use walk::{Beat, patrol};
