//! The way to Postgres: connections with limits, migrations, the wall between tenants, wake-ups, the private
//! cluster.

mod begin;
mod constraint;
mod migrate;
pub mod notify;
mod page;
pub mod patience;
mod pool;
pub mod pooling;
pub mod private;
mod reason;
pub(crate) mod savepoint;
mod trust;
pub mod vitals;
pub mod wall;

pub use begin::begin;
pub use constraint::violates;
pub use migrate::{SchemaState, migrate, migration_options, schema_state};
pub(crate) use page::{Filling, MAX_FETCHED, slice};
pub use page::{MAX_PAGE, PAGE_BYTES, Slice};
pub use pool::{CALL_TIMEOUT, connect, connect_as, connect_options, plain_options};
pub use reason::innermost;

pub use sqlx::{PgConnection, PgPool, Postgres, Transaction};
