//! What runs have still to take in.

mod store;

pub use store::{Letter, has_mail, post, put_aside, take};
