//! Whose requests are counted: a bounded number, and all others as one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// Under which those are counted for whom there is no room. It is nobody's own: no address of IPv4 or IPv6 that
/// anybody has, and no id, is all ones.
const OTHERS: u128 = u128::MAX;

/// Where each of them stands. Who comes when it is full shares one count with all who do.
#[derive(Debug)]
pub(super) struct Known {
    most: usize,
    counts: Mutex<HashMap<u128, Nanos>>,
}

impl Known {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, counts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Nanos>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Known {
    type Key = u128;

    fn measure_and_replace<T, F, E>(&self, key: &u128, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut counts = self.lock();
        let key = if counts.len() < self.most || counts.contains_key(key) { *key } else { OTHERS };
        let (told, next) = f(counts.get(&key).copied())?;
        counts.insert(key, next);
        Ok(told)
    }
}

impl ShrinkableKeyedStateStore<u128> for Known {
    fn retain_recent(&self, drop_below: Nanos) {
        self.lock().retain(|_, stands| *stands >= drop_below);
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_it_has_room_for() {
        let known = Known::new(3);
        let counted = |key: u128| -> u64 {
            let next = |before: Option<Nanos>| {
                let next = Nanos::new(before.map_or(0, Nanos::as_u64) + 1);
                Ok::<_, ()>((next.as_u64(), next))
            };
            known.measure_and_replace(&key, next).unwrap()
        };
        assert_eq!((1..=3).map(counted).collect::<Vec<_>>(), [1, 1, 1]);
        // Those who come now are counted together, and those who were there as before.
        assert_eq!((4..=6).map(counted).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((counted(1), known.len()), (2, 4));
        known.retain_recent(Nanos::new(2));
        assert_eq!((counted(4), known.len()), (1, 3));
    }
}
