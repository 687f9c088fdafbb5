//! What has ended goes once nobody needs it: runs with their logs, notices with what
//! became of them, operations on machines and what
//! checks of them found.

mod store;

pub use store::{
    HEALTH_BATCH, LETTER_BATCH, NOTICE_BATCH, OPERATION_BATCH, RUN_BATCH, allow_removal,
    remove_health_results, remove_letters, remove_notices, remove_operations, remove_runs,
};
