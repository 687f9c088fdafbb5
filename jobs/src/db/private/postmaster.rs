//! Tells whether the cluster's server runs, whatever its pid file claims.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Code, Error, Result};

/// How long the children of a killed server may take to notice, in seconds; they need well under one.
const ORPHANS_LIMIT_S: u64 = 20;
/// How often they are looked for, in milliseconds.
const LOOK_EVERY_MS: u64 = 20;

/// The pid of the server that runs on this data directory, if one does.
///
/// The pid file outlives a killed server and its number may by now be someone else's. A server
/// changes into its data directory, so that is what tells.
pub(super) fn running(data: &Path) -> Option<u32> {
    let pid = recorded(&data.join("postmaster.pid"))?;
    works_in(pid, data).then_some(pid)
}

/// Makes a start possible after the server, or the whole machine, was killed: waits until its last
/// child is gone, then removes the files `locks` whose pid belongs to a stranger or to a dead process
/// that nobody has reaped, as happens in containers: Postgres would take either for a live server.
///
/// # Errors
/// When processes of the dead server do not end.
pub(super) fn clear_leftovers(data: &Path, locks: &[PathBuf]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(ORPHANS_LIMIT_S);
    while let Some(pid) = any_in(data) {
        if Instant::now() >= deadline {
            return Err(Error::new(
                Code::Unavailable,
                format!(
                    "process {pid} of a killed Postgres still works in `{}`; end it with `kill {pid}`",
                    data.display()
                ),
            ));
        }
        thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
    }
    // A number that is free again is dealt with by Postgres itself, which then also checks for
    // shared memory in use.
    for lock in locks {
        if recorded(lock).is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists()) {
            fs::remove_file(lock).map_err(Error::internal)?;
        }
    }
    Ok(())
}

/// The pid on the first line of one of Postgres' lock files.
fn recorded(lock: &Path) -> Option<u32> {
    fs::read_to_string(lock).ok()?.lines().next()?.trim().parse().ok()
}

fn works_in(pid: u32, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)
        && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("postgres"))
}

fn any_in(folder: &Path) -> Option<u32> {
    fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| works_in(*pid, folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_with_a_strangers_number_is_no_server() {
        let dir = std::env::temp_dir().join(format!("millrace-postmaster-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("postmaster.pid"), format!("{}\n{}\n", std::process::id(), dir.display()))
            .unwrap();
        assert_eq!(running(&dir), None);
        let lock = dir.join("postmaster.pid");
        clear_leftovers(&dir, std::slice::from_ref(&lock)).unwrap();
        assert!(!lock.exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
