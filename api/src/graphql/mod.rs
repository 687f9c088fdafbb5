//! The schema, one file per domain, and the way requests reach it.

mod accept;
mod apikey;
mod deadletter;
mod handle;
mod invitation;
mod job;
mod limit;
mod listener;
mod notice;
mod page;
mod queue;
mod role;
mod run;
mod schema;
mod scope;
mod session;
mod tenant;
mod user;
mod workflow;

pub(crate) use handle::handle;
pub use schema::sdl;
pub(crate) use schema::{ApiSchema, schema};
