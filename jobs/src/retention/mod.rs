//! What has ended goes once nobody needs it: runs with their logs, notices with what became of them, operations
//! on machines, machines that were destroyed, what checks found, sweeps of dead letters, and events.

mod store;

pub use store::{
    EVENT_BATCH, FIRING_BATCH, HEALTH_BATCH, LEFT_BEHIND_BATCH, LETTER_BATCH, MACHINE_BATCH, NOTICE_BATCH,
    OPERATION_BATCH, RUN_BATCH, SWEEP_BATCH, allow_removal, forget_removals, remove_events, remove_firings,
    remove_health_results, remove_left_behind, remove_letters, remove_machines, remove_notices,
    remove_operations, remove_runs, remove_sweeps,
};
