//! What stands in jobs that write the audit.

use rules::audit::Entry;
use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Puts these entries, and all that was noted before it runs, into the chains.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditFlush {
    /// What was gathered; none where something was noted only.
    #[serde(default)]
    pub entries: Vec<Entry>,
}

impl Job for AuditFlush {
    const KIND: Kind = Kind::AuditFlush;

    fn about(&self) -> About {
        About::default()
    }
}
