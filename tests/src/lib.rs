//! The harness of everything that needs Postgres, a process, or more than one crate.
//!
//! A test asks for a [`Database`] of its own, waits on conditions with [`wait`], starts the real
//! executable with [`Millrace`] and breaks things with [`fault`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness reports by panicking, like the tests that call it"
)]

pub mod authority;
pub mod cutter;
pub mod database;
mod definition;
pub mod door;
pub mod fault;
pub mod hands;
pub mod http;
pub mod hypervisor_host;
pub mod live;
pub mod operation;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod queue;
pub mod socketio;
pub mod ssh;
mod tell;
pub mod wait;
mod wire;

pub use cutter::Cutter;
pub use database::Database;
pub use definition::definition;
pub use door::{Client, Door};
pub use hands::Hands;
pub use live::{Came, Stream, Talk};
pub use operation::{Operation, Operations};
pub use postgres::{Own, Postgres};
pub use process::Millrace;
pub use proxy::{Mode, Proxy};
pub use socketio::{SocketIo, Word};
pub use tell::tell;
