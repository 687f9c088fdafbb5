//! What the machines of a simulated host are said to use.

use rules::id::MachineId;

use super::host::Simulated;
use super::world::Load;

impl Simulated {
    /// Lets a machine use this much processor time from now on at once, in nanoseconds.
    pub fn burn(&self, machine: MachineId, ns: u64) {
        self.load(machine, |load| load.burnt_ns += ns);
    }

    /// Lets a guest tell how much of its memory it uses, in KiB; none for one that does not.
    pub fn set_guest_memory(&self, machine: MachineId, used_and_total: Option<(u64, u64)>) {
        self.load(machine, |load| load.guest_kib = used_and_total);
    }

    /// Fills the disks of a machine, in percent.
    pub fn fill_disks(&self, machine: MachineId, percent: u64) {
        self.load(machine, |load| load.disk_percent = percent);
    }

    fn load(&self, machine: MachineId, change: impl FnOnce(&mut Load)) {
        if let Some(known) = self.world().machines.get_mut(&machine) {
            change(&mut known.load);
        }
    }
}
