//! Breaks Postgres on purpose.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::postgres::Own;
use crate::wait;

/// How long a killed server's children may take to end.
const GONE_LIMIT: Duration = Duration::from_secs(20);

/// Kills a test's own server with SIGKILL, as the kernel does when memory runs out, and waits until
/// it is gone.
///
/// # Panics
/// When the server does not run.
pub fn kill_postgres(own: &Own) {
    let pid = own.cluster.pid().expect("the server runs");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("the server is ours to kill");
    wait::until_blocking(GONE_LIMIT, "the killed server is gone", || own.cluster.pid().is_none());
}
