//! Looks at an installation and says what is wrong with it, with the remedy. Changes nothing.

mod examine;
mod finding;
mod hosts;

pub use examine::examine;
pub use finding::{Check, Finding, Verdict};
