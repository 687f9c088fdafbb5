//! The job of a sweep of dead letters.

use rules::id::SweepId;
use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Goes on with a sweep. What it does and how far it has come stands in the sweep's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterSweep {
    /// The sweep.
    pub sweep_id: SweepId,
}

impl Job for LetterSweep {
    const KIND: Kind = Kind::LetterSweep;

    fn about(&self) -> About {
        About::default()
    }
}
