//! The schema, one file per domain, and the way requests reach it.

mod accept;
mod apikey;
mod handle;
mod limit;
mod page;
mod schema;
mod scope;
mod tenant;
mod user;

pub(crate) use handle::handle;
pub use schema::sdl;
pub(crate) use schema::{ApiSchema, schema};
