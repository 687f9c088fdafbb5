//! What is heard from outside, kept in Postgres: listeners, their notices, their buffers.
//!
//! `receive` takes a delivery in, `save` keeps a listener, `replay` sends a notice through again; the
//! stores hold the statements.

pub mod buffer;
mod cancel;
pub mod notice;
mod receive;
mod replay;
mod save;
mod store;

pub use cancel::cancel_job;
pub use receive::{Delivery, Received, receive};
pub use replay::replay;
pub use save::{
    NewListener, SECRET_GRACE, SECRET_GRACE_MAX, SaveError, create, faults, rotate_secret, update_pipeline,
};
pub use store::{Address, Hook, Listener, address, delete, end_old_secret, get, page, rename, set_active};
