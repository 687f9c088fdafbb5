//! Calls of a simulated host that take effect when nobody waits for them any more.

use rules::id::MachineId;

use super::host::Simulated;
use crate::hypervisor::act::Act;
use crate::hypervisor::driver::Outcome;
use crate::hypervisor::seen::{Mark, Observed};

impl Simulated {
    /// Makes the next removal of a machine's definition come late: it is given up at the deadline and still under way, until
    /// [`Simulated::catch_up`].
    pub fn delay_removal(&self) {
        self.world().late_at = Some(Act::Undefine);
    }

    /// How many calls are under way for which nobody waits any more.
    pub fn late_calls(&self) -> usize {
        self.world().late.len()
    }

    /// Lets the host come to what is under way, and tells what each came to.
    pub fn catch_up(&self) -> Vec<Outcome<Observed>> {
        let mut world = self.world();
        let late = std::mem::take(&mut world.late);
        late.into_iter().map(|(act, machine, mark)| world.perform(act, machine, mark)).collect()
    }

    /// Puts this act off, if it is the one that is to come late.
    pub(super) fn postpones(&self, act: Act, machine: MachineId, mark: Mark) -> bool {
        let mut world = self.world();
        let is_late = world.late_at.take_if(|late| *late == act).is_some();
        if is_late {
            world.late.push((act, machine, mark));
        }
        is_late
    }
}
