//! The schema, one file per domain, and the way requests reach it.

mod accept;
mod apikey;
mod audit;
mod deadletter;
mod department;
mod fit;
mod handle;
mod health;
mod health_view;
mod host;
mod invitation;
mod job;
mod keys;
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
mod shape;
mod snapshot;
mod spread;
mod tenant;
mod user;
mod words;
mod workflow;

pub(crate) use handle::{handle, refuse_whole};
pub use schema::sdl;
pub(crate) use schema::{ApiSchema, schema};
pub(crate) use words::reword;
