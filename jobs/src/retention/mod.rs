//! What has ended goes once nobody needs it: runs with their logs, notices with what became of them.

mod store;

pub use store::{
    LETTER_BATCH, NOTICE_BATCH, RUN_BATCH, allow_removal, remove_letters, remove_notices, remove_runs,
};
