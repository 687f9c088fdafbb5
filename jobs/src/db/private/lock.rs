//! Keeps two processes from running on one set of data.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Place;
use crate::{Error, Result};

/// Held for as long as a process owns the data; the kernel frees it when the process dies, however.
#[derive(Debug)]
pub struct UpLock {
    _file: File,
}

impl UpLock {
    /// Takes the lock of this place and writes the caller's pid into it.
    ///
    /// # Errors
    /// A conflict that names the holder's pid and the remedy when another process has it.
    pub fn take(place: &Place) -> Result<Self> {
        let path = place.lock();
        let mut file = open(place)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = read_pid(&mut file)
                    .map_or_else(|| "another process".to_owned(), |pid| format!("pid {pid}"));
                return Err(Error::conflict(format!(
                    "the data in `{}` is in use by {holder}, which runs `millrace up`; \
                     stop it with ctrl-c in its terminal or with `make down`",
                    place.home().display()
                )));
            }
            Err(error) => return Err(Error::internal(error)),
        }
        write_pid(&mut file).map_err(|error| {
            Error::invalid(format!("`{}` cannot be written: {error}; check its owner", path.display()))
                .because(error)
        })?;
        Ok(Self { _file: file })
    }

    /// The pid of the process that holds the lock of this place, if one does.
    ///
    /// # Errors
    /// When the lock file exists and cannot be read.
    pub fn holder(place: &Place) -> Result<Option<u32>> {
        if !place.lock().exists() {
            return Ok(None);
        }
        let mut file = open(place)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(None),
            Err(Errno::WOULDBLOCK) => Ok(read_pid(&mut file)),
            Err(error) => Err(Error::internal(error)),
        }
    }
}

fn open(place: &Place) -> Result<File> {
    let path = place.lock();
    std::fs::create_dir_all(place.home()).map_err(|error| {
        Error::invalid(format!("`{}` cannot be made: {error}; {}", place.home().display(), remedy(&error)))
            .because(error)
    })?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(
        |error| {
            Error::invalid(format!("`{}` cannot be opened: {error}; {}", path.display(), remedy(&error)))
                .because(error)
        },
    )
}

/// What to do about a folder that takes no file.
fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::ReadOnlyFilesystem => "name a folder that can be written in `MILLRACE_HOME`",
        std::io::ErrorKind::PermissionDenied => {
            "check its owner, or name a folder of your own in `MILLRACE_HOME`"
        }
        _ => "check that it is a folder, and whose it is",
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
