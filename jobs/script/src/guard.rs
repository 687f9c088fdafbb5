//! Says at each moment whether the script of this thread may go on.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult, Position};

use crate::alloc;
use crate::clock::thread_cpu;
use crate::limits::Limits;

/// Why a script was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trip {
    Time,
    Memory,
}

#[derive(Clone, Copy)]
struct Watch {
    /// When to look next how long a processor has worked; `None` while no script runs: everything is allowed.
    look_at: Option<Instant>,
    /// What the thread's clock showed at first, and how far it may go: a script answers for what it does, not for a thread
    /// that has to wait for a processor.
    begun: Duration,
    time: Duration,
    base: isize,
    memory_bytes: isize,
    /// Sticky: a function of ours that cannot return an error leaves its verdict here.
    tripped: Option<Trip>,
}

const IDLE: Watch = Watch {
    look_at: None,
    begun: Duration::ZERO,
    time: Duration::ZERO,
    base: 0,
    memory_bytes: isize::MAX,
    tripped: None,
};

thread_local! {
    static WATCH: Cell<Watch> = const { Cell::new(IDLE) };
}

/// Starts the clock and the account of this thread.
pub(crate) fn arm(limits: &Limits) {
    alloc::reset_peak();
    WATCH.with(|watch| {
        watch.set(Watch {
            look_at: Instant::now().checked_add(limits.time),
            begun: thread_cpu(),
            time: limits.time,
            base: alloc::live(),
            memory_bytes: isize::try_from(limits.memory_bytes).unwrap_or(isize::MAX),
            tripped: None,
        });
    });
}

/// Ends the watch; says why it tripped, if it did, and the peak of memory in bytes.
pub(crate) fn disarm() -> (Option<Trip>, usize) {
    let watch = WATCH.with(|watch| watch.replace(IDLE));
    let peak = alloc::peak().wrapping_sub(watch.base);
    (watch.tripped, usize::try_from(peak).unwrap_or(0))
}

/// Asked before each operation: is there time left, and is no more held than may be?
pub(crate) fn tick() -> Result<(), Trip> {
    room(0)
}

/// Asked before something large is made: would `bytes` more still fit under the ceiling?
/// With zero, asks whether the script may start another operation.
pub(crate) fn room(bytes: usize) -> Result<(), Trip> {
    WATCH.with(|cell| {
        let mut watch = cell.get();
        let Some(look_at) = watch.look_at else { return Ok(()) };
        if watch.tripped.is_none() {
            let held = alloc::live().wrapping_sub(watch.base);
            let more = isize::try_from(bytes).unwrap_or(isize::MAX);
            if held > holdable(watch.memory_bytes) || held.saturating_add(more) > watch.memory_bytes {
                watch.tripped = Some(Trip::Memory);
            } else if Instant::now() >= look_at {
                // Asking the thread's clock is a system call, so only once it can have come to the end.
                let left = watch.time.saturating_sub(thread_cpu().saturating_sub(watch.begun));
                if left.is_zero() {
                    watch.tripped = Some(Trip::Time);
                } else {
                    watch.look_at = Instant::now().checked_add(left);
                }
            }
            cell.set(watch);
        }
        watch.tripped.map_or(Ok(()), Err)
    })
}

/// Asked before a text of so many bytes is made: operators of the language copy a text twice where no
/// function of ours can ask, so texts are kept to a quarter of the memory.
pub(crate) fn text(bytes: usize) -> Result<(), Trip> {
    room(bytes)?;
    WATCH.with(|cell| {
        let mut watch = cell.get();
        let allowed = watch.look_at.is_none()
            || isize::try_from(bytes).is_ok_and(|bytes| bytes <= watch.memory_bytes / 4);
        if allowed {
            return Ok(());
        }
        watch.tripped = Some(Trip::Memory);
        cell.set(watch);
        Err(Trip::Memory)
    })
}

/// What may be held when an operation begins: a little less than half, since it can double that, and
/// beside a text of the largest size its two copies still fit.
const fn holdable(memory_bytes: isize) -> isize {
    memory_bytes / 16 * 7
}

/// The verdict as the error that a script cannot catch.
pub(crate) fn stop(_: Trip) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE))
}
