//! Lets the calls that change a machine follow one another, those included that nobody waits for any more: who destroys
//! a machine finds what an earlier call made of it, however late that ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rules::id::MachineId;

/// The turn on one machine: held by a call until libvirt lets it go.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// The machines on which calls are under way.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<MachineId, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// The turn on this machine, the same for all who ask while anybody has it.
    pub(super) fn of(&self, machine: MachineId) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&machine).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Turn::default();
        turns.insert(machine, Arc::downgrade(&turn));
        turn
    }
}
