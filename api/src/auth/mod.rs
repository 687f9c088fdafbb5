//! Who is asking: logins, tokens, keys, and the guards on fields.

mod admin;
mod ending;
mod external;
mod extract;
mod fetch;
mod gate;
mod guard;
mod one_time;
mod operation;
mod password;
mod proxy;
mod session;
pub(crate) mod store;
mod throttle;
mod token;

#[cfg(test)]
mod external_tests;
#[cfg(test)]
mod token_tests;

pub(crate) use admin::hashed;
pub use admin::{Bootstrapped, bootstrap_admin, reset_admin_password};
pub(crate) use ending::token_end;
pub(crate) use external::External;
pub use external::{Certificates, ExternalConfig};
pub(crate) use extract::{
    Caller, Origin, caller, external_subject, external_user, origin, same, still, unknown_subject,
};
pub(crate) use gate::{Gate, admit};
pub(crate) use guard::{MayOverall, SignedIn, principal};
pub(crate) use one_time::{OneTime, Purpose, hash_of};
pub(crate) use operation::{Needs, listed, needs};
pub(crate) use password::Passwords;
pub(crate) use password::check_strength;
pub use proxy::{BadProxies, TrustedProxies};
pub(crate) use session::{Granted, Refreshed, bad_refresh, begin, refresh};
pub(crate) use throttle::{charge, forgive, release};
pub(crate) use token::Tokens;
