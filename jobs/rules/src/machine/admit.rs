//! Whether an action may be asked for now, and what it does to those asked for before.

use std::fmt;

use uuid::Uuid;

use super::{ActionName, OperationState, Wanted};
use crate::id::OperationId;

/// An operation of the same machine that has not ended, in the order in which they will be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Which.
    pub id: OperationId,
    /// What it does.
    pub action: ActionName,
    /// Whether it has begun.
    pub state: OperationState,
}

/// What is to be done about an action that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is queued, and takes the place of these.
    Queue {
        /// What it supersedes: what waits is taken away, what runs is told to stop.
        instead_of: Vec<OperationId>,
    },
    /// The same waits already, last in line: it will do for both.
    Join(OperationId),
    /// It cannot be asked for.
    Refuse(Refused),
}

/// Why an action cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The machine is being destroyed.
    BeingDestroyed,
    /// It must run for this, and shall be in the state named.
    NotRunning(ActionName, Wanted),
}

/// Decides about an action, from what its machine shall be and what was asked for before and has not ended.
///
/// * Destroying overtakes: what waits is taken away, what runs is told to stop. Nothing comes after it.
/// * Switching off by force overtakes a stop that asks the guest, waiting or running.
/// * The same power action twice in a row is one, as long as the first has not begun.
/// * On a host that is drained, switching off takes the place of all that waits for the drain's end: it would
///   wait behind it.
pub fn admit(action: ActionName, wanted: Wanted, pending: &[Pending], draining: bool) -> Admission {
    if wanted == Wanted::Destroyed {
        let destroying = pending.iter().rev().find(|p| p.action == ActionName::Destroy);
        return match (action, destroying) {
            (ActionName::Destroy, Some(before)) => Admission::Join(before.id),
            // The one before has failed: destroying may be asked for again.
            (ActionName::Destroy, None) => Admission::Queue { instead_of: Vec::new() },
            _ => Admission::Refuse(Refused::BeingDestroyed),
        };
    }
    let last = pending.last();
    match action {
        ActionName::Destroy => Admission::Queue { instead_of: pending.iter().map(|p| p.id).collect() },
        ActionName::Suspend | ActionName::Reset | ActionName::Restart | ActionName::Resume
            if wanted == Wanted::Off =>
        {
            Admission::Refuse(Refused::NotRunning(action, wanted))
        }
        ActionName::Reset if wanted == Wanted::Suspended => {
            Admission::Refuse(Refused::NotRunning(action, wanted))
        }
        ActionName::Stop | ActionName::ForceOff
            if draining && pending.iter().any(Pending::waits_for_drain) =>
        {
            let gone = |p: &&Pending| p.waits_for_drain() || is_outdone(p, action);
            Admission::Queue { instead_of: pending.iter().filter(gone).map(|p| p.id).collect() }
        }
        ActionName::ForceOff if last.is_some_and(|p| p.action == ActionName::Stop) => {
            Admission::Queue { instead_of: last.map(|p| p.id).into_iter().collect() }
        }
        ActionName::Start
        | ActionName::Stop
        | ActionName::ForceOff
        | ActionName::Suspend
        | ActionName::Resume
        | ActionName::Restart
        | ActionName::Reset => match last {
            Some(last) if last.action == action && last.state == OperationState::Waiting => {
                Admission::Join(last.id)
            }
            _ => Admission::Queue { instead_of: Vec::new() },
        },
        ActionName::Create
        | ActionName::Define
        | ActionName::SnapshotCreate
        | ActionName::SnapshotRevert
        | ActionName::SnapshotDelete => Admission::Queue { instead_of: Vec::new() },
    }
}

/// Where an action is queued behind whatever waits, and takes nobody's place, on a host that is not drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simply {
    /// What the machine shall be: one of these.
    pub wanted: Vec<Wanted>,
    /// What waits or runs last, if anything does: one of these. What is before that makes no difference then.
    pub behind: Vec<ActionName>,
}

/// Where nothing has to be decided about an action, as [`admit`] would decide it.
pub fn simply(action: ActionName) -> Simply {
    let queued = |wanted: Wanted, pending: &[Pending]| {
        admit(action, wanted, pending, false) == Admission::Queue { instead_of: Vec::new() }
    };
    let wanted: Vec<Wanted> = Wanted::ALL.into_iter().filter(|wanted| queued(*wanted, &[])).collect();
    let behind = |before: &ActionName| {
        [OperationState::Waiting, OperationState::Running].into_iter().all(|state| {
            let last = Pending { id: OperationId(Uuid::nil()), action: *before, state };
            wanted.iter().all(|wanted| queued(*wanted, &[last]))
        })
    };
    let behind = ActionName::ALL.into_iter().filter(behind).collect();
    Simply { wanted, behind }
}

impl Pending {
    /// Whether a drain of its host keeps it waiting.
    fn waits_for_drain(&self) -> bool {
        self.state == OperationState::Waiting && !self.action.passes_drain()
    }
}

/// Whether a way of switching off that somebody asks for does for one that was asked for before.
fn is_outdone(before: &Pending, action: ActionName) -> bool {
    match action {
        ActionName::ForceOff if before.action == ActionName::Stop => true,
        _ => before.action == action && before.state == OperationState::Waiting,
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeingDestroyed => {
                f.write_str("the machine is being destroyed; nothing more can be done to it")
            }
            Self::NotRunning(action, wanted) => write!(
                f,
                "`{action}` needs a running machine, and this one shall be {}; {} it first",
                wanted.as_str().to_lowercase(),
                if *wanted == Wanted::Suspended { "resume" } else { "start" }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pending(id: u128, action: ActionName, state: OperationState) -> Pending {
        Pending { id: OperationId(Uuid::from_u128(id)), action, state }
    }

    fn any_pending() -> impl Strategy<Value = Pending> {
        (any::<u128>(), 0..ActionName::ALL.len(), any::<bool>()).prop_map(|(id, action, running)| {
            let state = if running { OperationState::Running } else { OperationState::Waiting };
            pending(id, ActionName::ALL[action], state)
        })
    }

    proptest! {
        #[test]
        fn where_nothing_is_to_be_decided_it_is_queued(
            before in proptest::collection::vec(any_pending(), 0..6),
            action in 0..ActionName::ALL.len(),
            wanted in 0..Wanted::ALL.len(),
        ) {
            let (action, wanted) = (ActionName::ALL[action], Wanted::ALL[wanted]);
            let simply = simply(action);
            let last = before.last().is_none_or(|last| simply.behind.contains(&last.action));
            if last && simply.wanted.contains(&wanted) {
                prop_assert_eq!(admit(action, wanted, &before, false), ids(&[]));
            }
        }
    }

    #[test]
    fn what_nothing_is_to_be_decided_about_is_most_of_what_is_asked() {
        let start = simply(ActionName::Start);
        assert_eq!(start.wanted, [Wanted::Running, Wanted::Off, Wanted::Suspended]);
        assert!(!start.behind.contains(&ActionName::Start) && start.behind.contains(&ActionName::ForceOff));
        let forced = simply(ActionName::ForceOff);
        assert!(!forced.behind.contains(&ActionName::Stop) && forced.behind.contains(&ActionName::Start));
        assert_eq!(simply(ActionName::Reset).wanted, [Wanted::Running]);
        assert_eq!(simply(ActionName::Destroy).behind, []);
    }

    fn ids(ids: &[u128]) -> Admission {
        Admission::Queue { instead_of: ids.iter().map(|id| OperationId(Uuid::from_u128(*id))).collect() }
    }

    #[test]
    fn the_same_twice_is_one_until_the_first_begins() {
        let waiting = [pending(1, ActionName::Start, OperationState::Waiting)];
        let joined = Admission::Join(OperationId(Uuid::from_u128(1)));
        assert_eq!(admit(ActionName::Start, Wanted::Running, &waiting, false), joined);
        assert_eq!(admit(ActionName::Stop, Wanted::Running, &waiting, false), ids(&[]));
        let running = [pending(1, ActionName::Start, OperationState::Running)];
        assert_eq!(admit(ActionName::Start, Wanted::Running, &running, false), ids(&[]));
        // Not beside each other: the order of what was asked for is kept.
        let between = [waiting[0], pending(2, ActionName::Stop, OperationState::Waiting)];
        assert_eq!(admit(ActionName::Start, Wanted::Off, &between, false), ids(&[]));
        let snapshot = [pending(1, ActionName::SnapshotCreate, OperationState::Waiting)];
        assert_eq!(admit(ActionName::SnapshotCreate, Wanted::Off, &snapshot, false), ids(&[]));
    }

    #[test]
    fn destroying_overtakes_all_and_nothing_follows_it() {
        let before = [
            pending(1, ActionName::Start, OperationState::Running),
            pending(2, ActionName::Stop, OperationState::Waiting),
        ];
        assert_eq!(admit(ActionName::Destroy, Wanted::Off, &before, false), ids(&[1, 2]));
        let destroying = [pending(3, ActionName::Destroy, OperationState::Waiting)];
        for action in ActionName::ALL.into_iter().filter(|a| *a != ActionName::Destroy) {
            let refused = Admission::Refuse(Refused::BeingDestroyed);
            assert_eq!(admit(action, Wanted::Destroyed, &destroying, false), refused);
            assert_eq!(admit(action, Wanted::Destroyed, &[], false), refused);
        }
        let joined = Admission::Join(OperationId(Uuid::from_u128(3)));
        assert_eq!(admit(ActionName::Destroy, Wanted::Destroyed, &destroying, false), joined);
        assert_eq!(admit(ActionName::Destroy, Wanted::Destroyed, &[], false), ids(&[]));
    }

    #[test]
    fn on_a_drained_host_switching_off_waits_for_nothing_that_waits_for_the_drain() {
        let before = [
            pending(1, ActionName::Restart, OperationState::Running),
            pending(2, ActionName::Start, OperationState::Waiting),
            pending(3, ActionName::SnapshotCreate, OperationState::Waiting),
            pending(4, ActionName::Stop, OperationState::Waiting),
        ];
        assert_eq!(admit(ActionName::Stop, Wanted::Off, &before, true), ids(&[2, 4]));
        assert_eq!(admit(ActionName::ForceOff, Wanted::Off, &before, true), ids(&[2, 4]));
        assert_eq!(admit(ActionName::ForceOff, Wanted::Off, &before, false), ids(&[4]));
        let joined = Admission::Join(OperationId(Uuid::from_u128(4)));
        assert_eq!(admit(ActionName::Stop, Wanted::Off, &before, false), joined);
        assert_eq!(admit(ActionName::Stop, Wanted::Off, &before[3..], true), joined);
        assert_eq!(admit(ActionName::Start, Wanted::Off, &before, true), ids(&[]));
        let forced = [pending(1, ActionName::ForceOff, OperationState::Running), before[1]];
        assert_eq!(admit(ActionName::ForceOff, Wanted::Off, &forced, true), ids(&[2]));
    }

    #[test]
    fn force_takes_the_place_of_asking() {
        for state in [OperationState::Waiting, OperationState::Running] {
            let stopping = [pending(1, ActionName::Stop, state)];
            assert_eq!(admit(ActionName::ForceOff, Wanted::Off, &stopping, false), ids(&[1]));
        }
    }

    #[test]
    fn what_needs_a_running_machine_says_so() {
        for action in [ActionName::Suspend, ActionName::Reset, ActionName::Restart, ActionName::Resume] {
            let refused = admit(action, Wanted::Off, &[], false);
            assert_eq!(refused, Admission::Refuse(Refused::NotRunning(action, Wanted::Off)));
        }
        assert_eq!(admit(ActionName::Resume, Wanted::Suspended, &[], false), ids(&[]));
    }
}
