//! Keys under which a request that is sent again is not done again, with what was answered to it.

mod keep;
mod store;

pub use keep::{
    ANSWER_BYTES_MAX, ANSWERS_OF_ONE_BYTES_MAX, Asked, Found, HELD_S, KEPT_S, KEYS_OF_ONE_MAX, begin, keep,
    release,
};
pub use store::{BATCH, done, remove_excess, remove_old};
