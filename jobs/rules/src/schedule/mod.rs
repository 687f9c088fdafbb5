//! When schedules are due, decided purely: expressions, time zones, what is done about missed ticks.
//!
//! A *tick* is a moment at which a schedule is due, a whole second of UTC. `draft` reads what somebody wants,
//! `timing` says when the ticks are, `turn` which of them are fired now.

mod clock;
mod cron;
mod draft;
mod limits;
mod timing;
mod turn;
mod zone;

pub use draft::{Draft, Fault, When, bound};
pub use limits::*;
pub use timing::Timing;
pub use turn::{CatchUp, Passed, Turn, turn};
