//! The jobs of a listener: one per notice, then one per action.

use rules::id::{ActionId, NoticeId};
use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Takes a notice through its listener's transform and fans its actions out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerEvent {
    /// The notice.
    pub notice_id: NoticeId,
    /// Which time it goes through the pipeline; 0 is the first.
    #[serde(default)]
    pub replay: i32,
}

/// Performs one action for one notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerAction {
    /// The notice.
    pub notice_id: NoticeId,
    /// The action of its listener's pipeline.
    pub action_id: ActionId,
    /// As in [`ListenerEvent`].
    #[serde(default)]
    pub replay: i32,
}

impl Job for ListenerEvent {
    const KIND: Kind = Kind::ListenerEvent;

    fn about(&self) -> About {
        About { notice: Some(self.notice_id), ..About::default() }
    }
}

impl Job for ListenerAction {
    const KIND: Kind = Kind::ListenerAction;

    fn about(&self) -> About {
        About { notice: Some(self.notice_id), ..About::default() }
    }
}
