//! Users and API keys. Who may do what is decided in `rules::access`.

pub mod store;

pub use store::{ApiKey, NewApiKey, User};
