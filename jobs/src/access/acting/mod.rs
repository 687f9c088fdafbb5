//! Which API key acts for one that saved something.

pub(super) mod store;
