//! A login over ssh of a test's own: a key, and which server it goes to, by the programs of OpenSSH and dropbear.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is needed: OpenSSH on the side of the client, dropbear and libvirt's helper on that of the server.
const PROGRAMS: [&str; 5] = [
    "/usr/bin/ssh",
    "/usr/bin/ssh-keygen",
    "/usr/sbin/dropbear",
    "/usr/bin/dropbearkey",
    "/usr/bin/virt-ssh-helper",
];

/// A client with a key, and a list of the servers that it knows. It reads nothing of whoever runs the tests.
#[derive(Debug)]
pub struct Login(tempfile::TempDir);

/// Why there is none here; none when there is.
pub fn missing() -> Option<String> {
    let missing = PROGRAMS.into_iter().find(|program| !Path::new(program).is_file())?;
    Some(format!("`{missing}` is missing; run .ci/guests"))
}

/// Makes a server's key in this folder, as `hostkey`; returns its public half.
///
/// # Panics
/// When dropbear is not as it should be.
pub fn make_host_key(folder: &Path) -> String {
    let key = folder.join("hostkey");
    let told = run(Command::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(&key));
    told.lines()
        .find(|line| line.starts_with("ssh-ed25519 "))
        .expect("dropbearkey tells the public key")
        .to_owned()
}

/// Lets these, and nobody else, into the server of this folder from its next boot on.
///
/// # Panics
/// When the folder is gone.
pub fn let_in(logins: &[&Login], folder: &Path) {
    let keys: String =
        logins.iter().map(|login| fs::read_to_string(login.at("key.pub")).expect("it has a key")).collect();
    write(&folder.join("authorized_keys"), &keys, 0o600);
}

impl Login {
    /// Makes a key.
    ///
    /// # Panics
    /// When OpenSSH is not as it should be.
    pub fn new() -> Self {
        let login = Self(tempfile::tempdir().expect("a folder"));
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(login.at("key")));
        let at = login.0.path().display();
        write(
            &login.at("config"),
            &format!(
                "IdentityFile {at}/key\nIdentitiesOnly yes\nIdentityAgent none\nHostKeyAlias server\n\
                 StrictHostKeyChecking yes\nUserKnownHostsFile {at}/known\nGlobalKnownHostsFile /dev/null\n"
            ),
            0o600,
        );
        write(&login.at("ssh"), &format!("#!/bin/sh\nexec ssh -F {at}/config \"$@\"\n"), 0o700);
        login
    }

    /// Takes whoever has this key for the server from now on.
    ///
    /// # Panics
    /// When its folder is gone.
    pub fn know(&self, host_key: &str) {
        write(&self.at("known"), &format!("server {host_key}\n"), 0o600);
    }

    /// The command that libvirt runs in place of `ssh`.
    pub fn command(&self) -> PathBuf {
        self.at("ssh")
    }

    fn at(&self, part: &str) -> PathBuf {
        self.0.path().join(part)
    }
}

impl Default for Login {
    fn default() -> Self {
        Self::new()
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn run(command: &mut Command) -> String {
    let told = command.stdin(Stdio::null()).output().expect("it starts");
    assert!(told.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8_lossy(&told.stdout).into_owned()
}
