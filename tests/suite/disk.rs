//! `millrace up` on a disk that is full: refused before anything is made, with the reason and the remedy.
//!
//! The disk is a small file system in memory, mounted in a mount namespace of the process' own, which needs
//! root; without that right the test says so and looks at nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Millrace, process};

/// Less than a start needs.
const SMALL: &str = "size=64m";

/// What runs in the namespace: the mount, then what follows as its arguments.
const MOUNTED: &str = r#"mount -t tmpfs -o "$1" millrace-test "$2" && shift 2 && exec "$@""#;

/// `millrace up` with a home on a file system of its own; none where this machine does not allow that.
fn up_on(size: &str, folder: &std::path::Path) -> Option<Command> {
    let mounting = |what: &[&str]| {
        let mut command = Command::new("unshare");
        let mount = folder.to_str().expect("text");
        command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNTED, "sh", size, mount]);
        command.args(what).stdin(Stdio::null());
        command
    };
    match mounting(&["true"]).output() {
        Ok(tried) if tried.status.success() => {}
        Ok(tried) => {
            eprintln!("NOT TESTED, the full disk: no mount here: {}", String::from_utf8_lossy(&tried.stderr));
            return None;
        }
        Err(error) => {
            eprintln!("NOT TESTED, the full disk: `unshare` cannot be started: {error}");
            return None;
        }
    }
    let binary = process::binary();
    let mut command = mounting(&[binary.to_str().expect("text"), "up"]);
    command.env("MILLRACE_HOME", folder.join("home")).env("PORT", "0").env_remove("DATABASE_URL");
    Some(command)
}

#[tokio::test]
async fn a_start_on_a_disk_without_room_is_refused_with_the_remedy() {
    let folder = tempfile::Builder::new().prefix("millrace-disk-").tempdir_in("/tmp").unwrap();
    let Some(mut command) = up_on(SMALL, folder.path()) else { return };
    let mut up = Millrace::spawn(&mut command);
    let ended = up.ended(Duration::from_secs(60)).await;
    let told = up.log();
    assert_eq!(ended.code(), Some(1), "{told}");
    for said in ["the disk of", "has 6", "MB free and a start needs 512 MB", "free some space"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(!told.contains("millrace is up"), "{told}");
}
