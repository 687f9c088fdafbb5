//! How schedules are getting on, in numbers.

pub(super) mod store;
