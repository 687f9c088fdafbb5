//! A worker process of the demo's own, to be killed in the middle of a step.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running `millrace worker --pools dag`. Killed when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    /// The id under which it claims, once it has said so.
    id: Arc<Mutex<Option<String>>>,
}

impl Worker {
    /// Starts it with this very executable; it finds the database as the demo did.
    pub(super) fn start() -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("the path of this executable")?;
        let mut child = Command::new(executable)
            .args(["worker", "--pools", "dag"])
            .env("LOG", "info")
            .env("LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(File::options().write(true).open("/dev/null")?)
            .stderr(Stdio::piped())
            .spawn()
            .context("the worker could not be started")?;
        let id: Arc<Mutex<Option<String>>> = Arc::default();
        let lines = BufReader::new(child.stderr.take().context("its standard error")?).lines();
        let said = Arc::clone(&id);
        // Reads to the end, so that the worker never waits for a full pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(id) = worker_id(&line) {
                    *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
                }
            }
        });
        Ok(Self { child, id })
    }

    /// The id under which it claims, once it works.
    pub(super) fn id(&self) -> Option<String> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops its clock: it does nothing until it is thawed, and its leases stay as they are.
    pub(super) fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("the worker could not be killed")?;
        self.child.wait().context("the worker could not be waited for")?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a pid")?;
        kill_process(pid, signal).with_context(|| format!("the worker (pid {}) is gone", self.pid()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Gone already, as a rule; a frozen one is killed all the same.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            crate::failure::write(&format!(
                "the demo's worker (pid {}) could not be ended: {error}\n",
                self.child.id()
            ));
        }
    }
}

/// The worker's id in a line of its log, wherever the line keeps its fields.
fn worker_id(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["worker.id"].as_str().or(line["fields"]["worker.id"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::worker_id;

    #[test]
    fn the_id_is_read_from_the_log() {
        assert_eq!(
            worker_id(r#"{"level":"INFO","worker.id":"w","message":"worker started"}"#),
            Some("w".into())
        );
        assert_eq!(worker_id("plain"), None);
    }
}
