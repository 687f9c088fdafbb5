//! What a job is about, for those who read the log.

use crate::id::{HostId, NoticeId, OperationId, RunId};

/// The things that a payload names. Each is a field of every log line of the job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The run.
    pub run: Option<RunId>,
    /// The node of that run.
    pub node: Option<String>,
    /// The notice.
    pub notice: Option<NoticeId>,
    /// The operation on a machine.
    pub operation: Option<OperationId>,
    /// The host.
    pub host: Option<HostId>,
}
