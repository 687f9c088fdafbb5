//! The stateless door: authenticates, authorises, validates, enqueues, reads.
//!
//! It never executes a job. All that outlives a request is in Postgres, so any number of these may stand
//! side by side and any of them may end at any time.
// The schema is one type made of every domain's, each inside the next.
#![recursion_limit = "256"]

mod audit;
mod auth;
mod body;
mod config;
mod cors;
mod error;
mod graphql;
mod keys;
mod measure;
mod probe;
mod rate;
mod realtime;
mod request_id;
mod router;
mod server;
mod state;
mod webhook;

pub use auth::{
    BadProxies, Bootstrapped, Certificates, ExternalConfig, TrustedProxies, bootstrap_admin,
    reset_admin_password,
};
pub use config::{ApiConfig, BIND, Limits, MIN_JWT_SECRET_BYTES, PORT, SESSION_TTL_S, TOKEN_TTL_S};
pub use cors::{BadOrigin, Origins};
pub use graphql::{Documents, sdl};
pub use rate::{BadRateLimit, RateLimit, RateLimits};
pub use router::router;
pub use server::{serve, serve_figures};
pub use state::App;
