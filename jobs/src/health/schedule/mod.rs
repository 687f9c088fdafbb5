//! What the scheduler does for checks: takes in what became of machines, and enqueues what falls due.

mod enqueue;
mod follow;
mod store;

pub use enqueue::{Put, enqueue_due};
pub use follow::follow;
