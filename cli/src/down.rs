//! `millrace down` and `millrace reset`: stop what `up` started, and delete what it kept.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jobs::db::private::UpLock;
use jobs::{Code, Error, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::home::Home;
use crate::table::say;

/// How long `up` may drain after the signal, in seconds; its own grace is shorter.
const DRAIN_LIMIT_S: u64 = 90;
/// How often it is looked at, in milliseconds.
const LOOK_EVERY_MS: u64 = 50;

/// What the cluster and its keeping put into a home, besides [`Home::written`]. Only these are deleted: the
/// folder may have been named by hand.
const KEPT: [&str; 6] = ["pg", "pg.new", "run", "log", "README", "up.lock"];

/// Stops `up`, and the cluster too where an `up` that was killed left it running.
pub(crate) fn down() -> Result<()> {
    let home = Home::find()?;
    let mut nothing = true;
    if let Some(holder) = UpLock::holder(&home.place)? {
        nothing = false;
        stop_up(&home, holder)?;
    }
    if let Some(cluster) = home.cluster()? {
        nothing = false;
        cluster.stop_blocking()?;
        say(format!("stopped Postgres in `{}`", home.place.home().display()));
    }
    if nothing {
        say(format!("nothing runs in `{}`", home.place.home().display()));
    }
    Ok(())
}

/// Stops everything and deletes the data.
pub(crate) fn reset(yes: bool) -> Result<()> {
    let home = Home::find()?;
    if !yes {
        return Err(Error::invalid(format!(
            "this deletes all data and keys in `{}`; say `--yes` if that is meant",
            home.place.home().display()
        )));
    }
    down()?;
    if home.place.home().exists() {
        // Held while deleting, so that no `up` starts in between.
        let lock = UpLock::take(&home.place)?;
        for path in home.written().into_iter().chain(KEPT.map(|name| home.place.home().join(name))) {
            remove(&path)?;
        }
        drop(lock);
        remove(home.place.socket_dir())?;
        forget(home.place.home())?;
        say(format!("deleted the data in `{}`", home.place.home().display()));
    }
    if let Some(mark) = home.mark() {
        remove(&mark.join("README"))?;
        forget(&mark)?;
    }
    Ok(())
}

/// Deletes one file or folder of ours, if it is there.
fn remove(path: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(stuck(path, &error)),
    };
    if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
        .map_err(|error| stuck(path, &error))
}

/// Removes a folder if nothing of somebody else's is left in it.
fn forget(folder: &Path) -> Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(stuck(folder, &error))
        }
        _ => Ok(()),
    }
}

fn stuck(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!(
        "`{}` cannot be deleted: {error}; run this as the user who ran `up`",
        path.display()
    ))
}

fn stop_up(home: &Home, holder: u32) -> Result<()> {
    let pid = i32::try_from(holder).ok().and_then(Pid::from_raw).ok_or_else(|| {
        Error::internal(format!(
            "the lock of `{}` holds {holder}, which is no pid",
            home.place.home().display()
        ))
    })?;
    kill_process(pid, Signal::TERM).map_err(|error| {
        Error::new(
            Code::Denied,
            format!(
                "pid {holder}, which runs `millrace up`, cannot be stopped: {error}; run this as its user"
            ),
        )
    })?;
    let deadline = Instant::now() + Duration::from_secs(DRAIN_LIMIT_S);
    while UpLock::holder(&home.place)? == Some(holder) {
        if Instant::now() >= deadline {
            return Err(Error::new(
                Code::Unavailable,
                format!("pid {holder} still drains after {DRAIN_LIMIT_S} s; `kill {holder}` again forces it"),
            ));
        }
        thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
    }
    say(format!("stopped `millrace up` (pid {holder})"));
    Ok(())
}
