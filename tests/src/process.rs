//! Starts the built `millrace` as a real process, to be signalled and killed.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Set to use another executable than the one beside the tests.
const BINARY_VARIABLE: &str = "MILLRACE_BIN";

/// A running `millrace`. Killed when dropped.
#[derive(Debug)]
pub struct Millrace {
    child: Child,
    arguments: String,
    log: tempfile::NamedTempFile,
}

/// The path of the executable that this build made.
///
/// # Panics
/// When it has not been built.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return path.into();
    }
    // The tests are `target/<profile>/deps/suite-…`; the executable is two levels up.
    let here = std::env::current_exe().expect("a test knows its own path");
    let path = here.parent().and_then(|deps| deps.parent()).expect("in a target folder").join("millrace");
    assert!(path.is_file(), "`{}` is missing; run `cargo build --bin millrace` first", path.display());
    path
}

/// A command of `millrace` that inherits nothing of the machine's own configuration.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PG") || text.starts_with("MILLRACE_") || text == "DATABASE_URL" || text == "PORT"
        {
            command.env_remove(&name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `millrace` to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(arguments).envs(variables.iter().copied()).output().expect("the executable can be started")
}

/// Sends a signal to a process of this test; tells whether it was there.
pub fn signal_to(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).is_ok()
}

impl Millrace {
    /// Starts `millrace` with these arguments and variables.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(command(arguments).envs(variables.iter().copied()))
    }

    /// Starts a prepared [`command`], whose output goes to a file that [`Millrace::log`] reads.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let log = tempfile::NamedTempFile::new().expect("the temporary folder can be written");
        let copy = || Stdio::from(log.reopen().expect("just made"));
        let arguments: Vec<String> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        // Both streams append to one file; a shared offset would let them overwrite each other.
        let append = File::options().append(true).open(log.path()).map_or_else(|_| copy(), Stdio::from);
        let errors = File::options().append(true).open(log.path()).map_or_else(|_| copy(), Stdio::from);
        let child = command.stdout(append).stderr(errors).spawn().expect("the executable can be started");
        Self { child, arguments: arguments.join(" "), log }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Waits until it has printed `text`.
    ///
    /// # Panics
    /// When it ends or the limit passes first; the message holds what it printed.
    pub async fn printed(&mut self, text: &str) {
        let deadline = std::time::Instant::now() + wait::LIMIT;
        while !self.log().contains(text) {
            let ended = self.child.try_wait().expect("it is our child");
            let late = std::time::Instant::now() >= deadline;
            assert!(
                ended.is_none() && !late,
                "`millrace {}` did not print `{text}` (ended: {ended:?}):\n{}",
                self.arguments,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where it says that it listens. It needs `LOG_FORMAT=json`.
    ///
    /// # Panics
    /// When it does not say so.
    pub async fn listening(&mut self) -> SocketAddr {
        self.printed("\"listening\"").await;
        let log = self.log();
        let line = log.lines().find(|line| line.contains("\"listening\"")).expect("it was printed");
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        line["address"].as_str().expect("an address").parse().expect("an address")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone already.
    pub fn signal(&self, signal: Signal) {
        assert!(signal_to(self.pid(), signal), "`millrace {}` is gone:\n{}", self.arguments, self.log());
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("it is our child");
        }
        self.child.wait().expect("it is our child");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it is not over within `limit`; the message holds what it printed.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let deadline = std::time::Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "`millrace {}` still runs after {limit:?}:\n{}",
                self.arguments,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to stop with SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it is not over within `limit`.
    pub async fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(limit).await
    }
}

impl Drop for Millrace {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- what `millrace {}` printed ----\n{}", self.arguments, self.log());
        }
    }
}
