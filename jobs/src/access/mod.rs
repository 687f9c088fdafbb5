//! Users, API keys, and the roles that tenants make. Who may do what is decided in `rules::access`.

pub mod role;
pub mod store;

pub use store::{ApiKey, NewApiKey, User};
