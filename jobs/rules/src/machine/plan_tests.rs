//! Plans against a host that does what it is told, with crashes, other hands and deaf guests in between.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::id::SnapshotId;
use crate::queue::{Kind, Policy};

/// How long a note or an end may take in the database.
const NOTE: Duration = Duration::from_secs(10);

/// A host that does what it is told.
#[derive(Debug, Clone)]
struct Host {
    seen: Seen,
    snapshot: bool,
    deaf: bool,
    starts: u32,
    marked: bool,
}

/// What is kept of an operation in the database.
#[derive(Debug, Clone, Copy)]
struct Kept {
    stage: Stage,
    asked_for: Duration,
}

fn is_off(seen: Seen) -> bool {
    matches!(seen, Seen::Off | Seen::Crashed)
}

fn running(seen: Seen) -> bool {
    matches!(seen, Seen::Running | Seen::Blocked)
}

impl Host {
    fn call(&mut self, call: Call) {
        self.marked = self.seen != Seen::Absent || call == Call::Define;
        match call {
            Call::Define if self.seen == Seen::Absent => self.seen = Seen::Off,
            Call::Start if is_off(self.seen) => {
                self.seen = Seen::Running;
                self.starts += 1;
            }
            Call::AskToStop if running(self.seen) && !self.deaf => self.seen = Seen::ShuttingDown,
            // Of one that crashed nothing runs: there is nothing to be switched off, and it stays what it is.
            Call::ForceOff if self.seen != Seen::Absent && !is_off(self.seen) => self.seen = Seen::Off,
            Call::Suspend if running(self.seen) => self.seen = Seen::Paused,
            Call::Resume if matches!(self.seen, Seen::Paused | Seen::Sleeping) => self.seen = Seen::Running,
            Call::Undefine if is_off(self.seen) => {
                self.seen = Seen::Absent;
                self.snapshot = false;
            }
            Call::SnapshotCreate(_) => self.snapshot = true,
            Call::SnapshotDelete(_) => self.snapshot = false,
            Call::Define
            | Call::Start
            | Call::AskToStop
            | Call::ForceOff
            | Call::Suspend
            | Call::Resume
            | Call::Reset
            | Call::Undefine
            | Call::SnapshotRevert(_)
            | Call::Mark => {}
        }
    }

    fn time_passes(&mut self, kept: &mut Kept) {
        if kept.stage >= Stage::Asked {
            kept.asked_for += Duration::from_secs(7);
        }
        if self.seen == Seen::ShuttingDown {
            self.seen = Seen::Off;
        }
    }
}

/// Takes one step; none when the operation is over. A crash loses the note that follows a call.
fn step(action: Action, host: &mut Host, kept: &mut Kept, crash: bool) -> Option<Step> {
    let facts = Facts {
        seen: host.seen,
        snapshot_there: host.snapshot,
        marked: host.marked,
        stage: kept.stage,
        asked_for: kept.asked_for,
        patience: PATIENCE,
    };
    match plan(action, &facts) {
        Step::Call(call) => {
            host.call(call);
            if let Some(stage) = call.stage().filter(|_| !crash) {
                kept.stage = stage;
            }
            None
        }
        Step::Note(stage) => {
            if !crash {
                kept.stage = stage;
            }
            None
        }
        Step::Wait => {
            host.time_passes(kept);
            None
        }
        end @ (Step::Done | Step::Refuse(_)) => Some(end),
    }
}

fn actions() -> impl Strategy<Value = Action> {
    let id = SnapshotId(Uuid::from_u128(1));
    (0..ActionName::ALL.len()).prop_map(move |i| Action::read(ActionName::ALL[i].as_str(), Some(id)).unwrap())
}

fn states() -> impl Strategy<Value = Seen> {
    (1..Seen::ALL.len()).prop_map(|i| Seen::ALL[i])
}

/// Whether a machine is as the action leaves it.
fn is_met(action: Action, host: &Host) -> bool {
    match action {
        Action::SnapshotCreate(_) => host.snapshot,
        Action::SnapshotDelete(_) => !host.snapshot,
        Action::SnapshotRevert(_) => true,
        Action::Define => host.seen != Seen::Absent,
        Action::Suspend => matches!(host.seen, Seen::Paused | Seen::Sleeping),
        Action::Create
        | Action::Start
        | Action::Stop
        | Action::ForceOff
        | Action::Resume
        | Action::Restart
        | Action::Reset
        | Action::Destroy => action.wants().unwrap().is_met_by(host.seen),
    }
}

proptest! {
    /// Whatever is seen at first, wherever workers die, and whoever else meddles for a while: the operation
    /// ends, and what it says is so.
    #[test]
    fn every_operation_ends_and_says_the_truth(
        action in actions(), seen in states(), snapshot: bool, deaf: bool,
        crashes in prop::collection::vec(any::<bool>(), 0..12),
        meddling in prop::collection::vec(prop::option::of(states()), 0..12),
    ) {
        let mut host = Host { seen, snapshot: snapshot && seen != Seen::Absent, deaf, starts: 0, marked: false };
        let mut kept = Kept { stage: Stage::Begun, asked_for: Duration::ZERO };
        for round in 0..60 {
            let crash = crashes.get(round).copied().unwrap_or(false);
            if let Some(Some(other)) = meddling.get(round) {
                host.seen = *other;
            }
            match step(action, &mut host, &mut kept, crash) {
                None => {}
                Some(Step::Done) => {
                    prop_assert!(host.marked || host.seen == Seen::Absent, "{action} leaves no mark on {host:?}");
                    prop_assert!(is_met(action, &host), "{action} is said to be done on {host:?}");
                    return Ok(());
                }
                Some(_) => return Ok(()),
            }
        }
        prop_assert!(false, "{action} never ends: {host:?} {kept:?}");
    }

    /// A restart starts the machine once, however often its worker dies.
    #[test]
    fn a_restart_starts_once(deaf: bool, crashes in prop::collection::vec(any::<bool>(), 0..20)) {
        let mut host = Host { seen: Seen::Running, snapshot: false, deaf, starts: 0, marked: false };
        let mut kept = Kept { stage: Stage::Begun, asked_for: Duration::ZERO };
        for round in 0..80 {
            let crash = crashes.get(round).copied().unwrap_or(false);
            if let Some(end) = step(Action::Restart, &mut host, &mut kept, crash) {
                prop_assert_eq!(end, Step::Done);
                prop_assert_eq!((host.seen, host.starts), (Seen::Running, 1));
                return Ok(());
            }
        }
        prop_assert!(false, "it never ends");
    }
}

fn facts(seen: Seen) -> Facts {
    Facts {
        seen,
        snapshot_there: false,
        marked: true,
        stage: Stage::Begun,
        asked_for: Duration::ZERO,
        patience: PATIENCE,
    }
}

#[test]
fn nothing_is_decided_on_nothing() {
    for name in ActionName::ALL {
        let action = Action::read(name.as_str(), Some(SnapshotId(Uuid::nil()))).unwrap();
        assert_eq!(plan(action, &facts(Seen::Unknown)), Step::Wait, "{name}");
    }
}

#[test]
fn a_deaf_guest_is_switched_off_when_patience_ends() {
    let asked = Facts { stage: Stage::Asked, ..facts(Seen::Running) };
    assert_eq!(plan(Action::Stop, &facts(Seen::Running)), Step::Call(Call::AskToStop));
    assert_eq!(plan(Action::Stop, &asked), Step::Wait);
    let late = Facts { asked_for: PATIENCE, ..asked };
    assert_eq!(plan(Action::Stop, &late), Step::Call(Call::ForceOff));
    assert_eq!(plan(Action::Stop, &Facts { seen: Seen::Off, ..late }), Step::Done);
}

#[test]
fn an_operation_that_finds_its_end_reached_leaves_its_mark() {
    for (action, seen) in
        [(Action::Define, Seen::Off), (Action::ForceOff, Seen::Off), (Action::Suspend, Seen::Off)]
    {
        let unmarked = Facts { marked: false, ..facts(seen) };
        assert_eq!(plan(action, &unmarked), Step::Call(Call::Mark), "{action}");
    }
    let absent = Facts { marked: false, ..facts(Seen::Absent) };
    assert_eq!(plan(Action::Destroy, &absent), Step::Done);
}

#[test]
fn what_a_host_lost_is_defined_again_and_only_destroying_leaves_it_so() {
    assert_eq!(plan(Action::Start, &facts(Seen::Absent)), Step::Call(Call::Define));
    assert_eq!(plan(Action::Stop, &facts(Seen::Absent)), Step::Call(Call::Define));
    assert_eq!(plan(Action::Destroy, &facts(Seen::Absent)), Step::Done);
    let id = SnapshotId(Uuid::nil());
    assert_eq!(plan(Action::SnapshotCreate(id), &facts(Seen::Absent)), Step::Call(Call::Define));
    assert_eq!(plan(Action::SnapshotRevert(id), &facts(Seen::Absent)), Step::Refuse(Refusal::Gone));
}

/// How long one attempt may take at most on a host that does what it is told, as late as it may.
fn longest_attempt(action: Action, mut host: Host) -> Duration {
    let mut kept = Kept { stage: Stage::Begun, asked_for: Duration::ZERO };
    let mut taken = NOTE;
    for _ in 0..60 {
        taken += Errand::Look.awaited_for();
        if action.snapshot().is_some() && host.seen != Seen::Absent {
            taken += Errand::Read.awaited_for();
        }
        let facts = Facts {
            snapshot_there: host.snapshot,
            marked: host.marked,
            stage: kept.stage,
            ..facts(host.seen)
        };
        match plan(action, &facts) {
            Step::Call(call) => {
                taken += call.errands().iter().map(|errand| errand.awaited_for()).sum::<Duration>();
                taken += if call.stage().is_some() { NOTE } else { Duration::ZERO };
            }
            Step::Note(_) => taken += NOTE,
            // Waiting ends the attempt, and the operation comes back in another.
            Step::Wait => return taken + KEEPS_SLOT * 2,
            Step::Done if action == Action::Destroy => return taken + Errand::Disk.awaited_for() + NOTE,
            Step::Done | Step::Refuse(_) => return taken + NOTE,
        }
        step(action, &mut host, &mut kept, false);
    }
    Duration::MAX
}

#[test]
fn a_job_outlasts_all_that_its_host_may_take() {
    let id = SnapshotId(Uuid::nil());
    let timeout = Policy::of(Kind::MachineOperate).timeout;
    let mut longest = Duration::ZERO;
    for name in ActionName::ALL {
        let action = Action::read(name.as_str(), Some(id)).unwrap();
        for (seen, snapshot) in Seen::ALL.into_iter().flat_map(|seen| [(seen, false), (seen, true)]) {
            let host = Host {
                seen,
                snapshot: snapshot && seen != Seen::Absent,
                deaf: true,
                starts: 0,
                marked: false,
            };
            let takes = longest_attempt(action, host);
            assert!(takes < timeout, "{action} of one that is {seen} may take {takes:?} of {timeout:?}");
            longest = longest.max(takes);
        }
    }
    assert!(timeout < longest * 2, "a handler that is stuck is stopped after {timeout:?}, which is much");
    assert!(Policy::of(Kind::HostReconcile).timeout > LISTING_ENDS + Errand::Act.awaited_for() + NOTE * 3);
    assert!(LISTING_ENDS > Errand::Read.awaited_for());
}
