//! The job of schedules: start the run of a firing.

use rules::id::FiringId;
use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Starts the run of one firing of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleFire {
    /// The firing.
    pub firing_id: FiringId,
}

impl Job for ScheduleFire {
    const KIND: Kind = Kind::ScheduleFire;

    fn about(&self) -> About {
        About::default()
    }
}
