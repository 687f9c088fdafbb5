//! Counts how many readings of figures are under way at once, on any number of simulated hosts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rules::id::MachineId;

/// Readings of figures, each of which takes its time. Clones count together.
#[derive(Debug, Clone)]
pub struct Readings {
    take: Duration,
    count: Arc<Mutex<Count>>,
}

#[derive(Debug, Default)]
struct Count {
    under_way: HashMap<MachineId, usize>,
    most: Most,
}

/// The most readings that were ever under way at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Most {
    /// Of one machine.
    pub of_one: usize,
    /// In all.
    pub in_all: usize,
    /// How many there were.
    pub ever: usize,
}

impl Readings {
    /// Readings that take this long.
    pub fn taking(take: Duration) -> Self {
        Self { take, count: Arc::default() }
    }

    /// The most that were under way at once until now.
    pub fn most(&self) -> Most {
        self.count().most
    }

    /// One reading.
    pub(super) async fn read(&self, machine: MachineId) {
        let under_way = UnderWay::begin(self, machine);
        tokio::time::sleep(self.take).await;
        drop(under_way);
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the reading, or when it is given up.
struct UnderWay<'a>(&'a Readings, MachineId);

impl<'a> UnderWay<'a> {
    fn begin(readings: &'a Readings, machine: MachineId) -> Self {
        let mut count = readings.count();
        let of_one = count.under_way.entry(machine).or_default();
        *of_one += 1;
        let of_one = *of_one;
        let in_all = count.under_way.values().sum();
        let most = &mut count.most;
        *most =
            Most { of_one: most.of_one.max(of_one), in_all: most.in_all.max(in_all), ever: most.ever + 1 };
        drop(count);
        Self(readings, machine)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(of_one) = self.0.count().under_way.get_mut(&self.1) {
            *of_one = of_one.saturating_sub(1);
        }
    }
}
