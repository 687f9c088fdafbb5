//! Reads the audit: pages for people, links and ends for whoever verifies.

pub mod store;

pub use store::{Ends, Filter, ends, entries, links, tenants};
