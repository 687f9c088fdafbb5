//! The schema, one file per domain, and the way requests reach it.

mod accept;
mod apikey;
mod deadletter;
mod department;
mod handle;
mod host;
mod invitation;
mod job;
mod limit;
mod listener;
mod machine;
mod notice;
mod operation;
mod page;
mod queue;
mod role;
mod run;
mod schema;
mod scope;
mod session;
mod snapshot;
mod tenant;
mod user;
mod workflow;

pub(crate) use handle::handle;
pub use schema::sdl;
pub(crate) use schema::{ApiSchema, schema};
