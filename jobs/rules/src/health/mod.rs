//! The health of machines: what is checked, when it is due, and what a reading means.
//!
//! A worker reads figures where the machine is, and asks [`judge`] what they mean. Whether a machine's checks
//! are due at all is decided by [`standing`]: one that is switched off is left alone, and of one whose host
//! does not answer nothing is known.

mod check;
mod overall;
mod standing;
mod verdict;

#[cfg(test)]
mod verdict_tests;

pub use check::{
    Check, DEFAULT_INTERVAL_S, IN_FLIGHT_IN_ALL, IN_FLIGHT_PER_MACHINE, INTERVAL_S, UnknownCheck, next_after,
};
pub use overall::{Status, overall};
pub use standing::{Standing, is_on, standing};
pub use verdict::{
    BadLevels, DiskUse, Finding, Levels, Look, MAX_DETAIL_CHARS, MemoryUse, Thresholds, Usage, Verdict,
    disk_space, judge,
};
