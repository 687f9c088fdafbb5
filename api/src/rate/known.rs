//! Whose requests are counted: a bounded number each, the others together with their neighbours, and the rest as one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// How many neighbourhoods are told apart of those for whom there is no room.
const MAX_TOGETHER: usize = 10_000;

/// Under which those are counted for whom there is no room even there. It is nobody's own: no address of IPv4 or IPv6 that
/// anybody has, and no id, is all ones.
pub(super) const OTHERS: u128 = u128::MAX;

/// Where each of them stands. Who comes when it is full shares a count with those beside them who do: who fills it from
/// one network is in the way of that network's.
#[derive(Debug)]
pub(super) struct Known {
    most: usize,
    together: fn(u128) -> u128,
    counts: Mutex<HashMap<u128, Nanos>>,
}

impl Known {
    /// Room for so many, and for [`MAX_TOGETHER`] of what `together` makes of the others: nobody's own key.
    pub(super) fn new(most: usize, together: fn(u128) -> u128) -> Self {
        Self { most, together, counts: Mutex::default() }
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
        let room = |key: u128, most: usize| counts.len() < most || counts.contains_key(&key);
        let neighbours = (self.together)(*key);
        let key = if room(*key, self.most) {
            *key
        } else if room(neighbours, self.most + MAX_TOGETHER) {
            neighbours
        } else {
            OTHERS
        };
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
        let known = Known::new(3, |_| OTHERS);
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

    #[test]
    fn who_comes_when_it_is_full_is_counted_with_their_neighbours() {
        let known = Known::new(2, |key| (1 << 100) | (key / 1_000));
        let counted = |key: u128| -> u64 {
            let next = |before: Option<Nanos>| {
                let next = Nanos::new(before.map_or(0, Nanos::as_u64) + 1);
                Ok::<_, ()>((next.as_u64(), next))
            };
            known.measure_and_replace(&key, next).unwrap()
        };
        // One network fills it, and then shares a count; another's is its own.
        assert_eq!([1_001, 1_002, 1_003, 1_004, 2_001].map(counted), [1, 1, 1, 2, 1]);
        (0..2 * MAX_TOGETHER as u128).for_each(|network| {
            counted(1_000_000 + network * 1_000);
        });
        assert_eq!(known.len(), 2 + MAX_TOGETHER + 1, "however many networks there are");
    }
}
