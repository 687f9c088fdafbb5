//! Who is asking: logins, tokens, keys, and the guards on fields.

mod admin;
mod extract;
mod gate;
mod guard;
mod operation;
mod password;
pub(crate) mod store;
mod throttle;
mod token;

pub use admin::{Bootstrapped, bootstrap_admin, reset_admin_password};
pub(crate) use extract::{Caller, caller};
pub(crate) use gate::Gate;
pub(crate) use guard::{MayOverall, SignedIn, principal};
pub(crate) use operation::{Needs, needs};
pub(crate) use password::Passwords;
pub(crate) use password::check_strength;
pub(crate) use throttle::{charge, forgive};
pub(crate) use token::Session;
pub(crate) use token::Tokens;
