//! Runs one of Postgres' own programs with a deadline, as the cluster's account.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Account;
use crate::{Code, Error, Result};

/// How often a running program is looked at, in milliseconds; each is done in tens of these.
const LOOK_EVERY_MS: u64 = 10;

/// A command that inherits neither the caller's environment (`PGDATA`, `PGPORT`, locales) nor its
/// folder, which the account may not be allowed to enter.
pub(super) fn command(program: &Path, account: &Account) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir("/")
        .stdin(Stdio::null());
    if account.switch {
        // The standard library also drops root's supplementary groups when it changes the user.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// Runs to the end, at most `limit` long, and returns what was printed on stdout.
///
/// # Errors
/// When it cannot be started, fails or is late; the message ends with what it printed.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
        Error::new(Code::Unavailable, format!("`{name}` cannot be started: {error}")).because(error)
    })?;
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait().map_err(Error::internal)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                child.kill().map_err(Error::internal)?;
                child.wait().map_err(Error::internal)?;
                return Err(Error::new(
                    Code::Unavailable,
                    format!("`{name}` did not end within {} s and was killed", limit.as_secs()),
                ));
            }
            None => thread::sleep(Duration::from_millis(LOOK_EVERY_MS)),
        }
    };
    let stdout = drain(child.stdout.take());
    if status.success() {
        return Ok(stdout);
    }
    let stderr = drain(child.stderr.take());
    let said = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
    Err(Error::new(Code::Unavailable, format!("`{name}` failed ({status}): {said}")))
}

/// Reads what a dead child left in its pipe; both programs print less than a pipe holds.
fn drain(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe
        && let Err(error) = pipe.read_to_end(&mut bytes)
    {
        tracing::debug!(%error, "a child's output could not be read");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
