//! Users, their sessions, API keys, invitations, and the roles that tenants make. Who may do what is decided in `rules::access`.

mod acting;
pub mod invitation;
mod owner;
pub mod role;
pub mod session;
pub mod store;

pub use owner::may;
pub use store::{ApiKey, NewApiKey, User};
