//! Something asked of one machine in one call, where nothing has to be decided about it.

mod store;

pub(super) use store::{Asked, request};
