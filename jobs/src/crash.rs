//! Crash points: between any two statements of the queue, where a build for the fault matrix can end the process.
//!
//! Only the feature `crash-points` puts them there, and no executable that is shipped has it: without it a point is
//! nothing but a name.

/// Which point it shall be, by its name.
#[cfg(feature = "crash-points")]
const VARIABLE: &str = "MILLRACE_CRASH_AT";

macro_rules! points {
    ($($point:ident $name:literal)*) => {
        /// A place between two statements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $(#[doc = $name] $point,)*
        }

        impl Point {
            /// All of them, in the order of a job's life.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// What it is called.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    EnqueueBegun "enqueue: transaction begun"
    EnqueueReserved "enqueue: ids reserved"
    EnqueueCopied "enqueue: jobs copied"
    EnqueuePlaced "enqueue: jobs placed"
    EnqueueAsking "enqueue: about to ask"
    EnqueueWritten "enqueue: written"
    EnqueueCommitted "enqueue: committed"
    ClaimAsking "claim: about to ask"
    ClaimLeased "claim: leased"
    PollAsking "poll: about to ask"
    PollLeased "poll: leased"
    PromoteAsking "promote: about to ask"
    PromoteMoved "promote: moved"
    DoneAsking "ack: about to ask"
    DoneWritten "ack: written"
    FinishWritten "ack within a handler: written"
    FinishCommitted "ack within a handler: committed"
    RetryBegun "retry: transaction begun"
    RetryHurried "retry: wait for locks bounded"
    RetryHeld "retry: what deaths need is held"
    RetryWritten "retry: written"
    RetryRead "retry: the dead are read"
    RetryTold "retry: deaths are told"
    RetryCommitted "retry: committed"
    RescueBegun "rescue: transaction begun"
    RescueAlone "rescue: alone"
    RescueTaken "rescue: taken back"
    RescueLooked "rescue: the doomed are known"
    RescueCommitted "rescue: committed"
    EndingBegun "rescue of the doomed: transaction begun"
    EndingHurried "rescue of the doomed: wait for locks bounded"
    EndingHeld "rescue of the doomed: what deaths need is held"
    EndingWritten "rescue of the doomed: written"
    EndingTold "rescue of the doomed: deaths are told"
    EndingCommitted "rescue of the doomed: committed"
    RedriveBegun "redrive: transaction begun"
    RedriveLooked "redrive: looked at"
    RedriveWritten "redrive: written"
    RedriveCommitted "redrive: committed"
}

/// Ends the process if it shall end here.
#[cfg(feature = "crash-points")]
pub fn at(point: Point) {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    if CHOSEN.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref() == Some(point.name()) {
        std::process::abort();
    }
}

/// Nothing: this build has no crash points.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn at(_: Point) {}
