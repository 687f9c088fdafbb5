//! How long a processor has worked for this thread.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The processor's time of this thread, which no load of the machine lengthens.
pub(crate) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}
