//! Decides where the cluster of one clone lives; every command finds the same answer.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Account;
use crate::{Error, Result};

/// The folder in a clone that holds all that is kept.
const IN_CLONE: &str = ".millrace";

/// Where the data goes when the cluster's user cannot enter the clone.
const OUTSIDE: &str = "/var/lib/millrace";

/// The longest path of a unix socket, in bytes: the kernel's `sun_path` less its closing zero.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// The file name that Postgres gives its socket on port 5432.
const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The folders of one private cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    home: PathBuf,
    socket_dir: PathBuf,
}

impl Place {
    /// The place that belongs to a clone.
    ///
    /// # Errors
    /// When the folder does not exist or its path holds a character that `pg_ctl` cannot quote.
    pub fn of(clone: &Path, account: &Account) -> Result<Self> {
        let clone = clone.canonicalize().map_err(|error| {
            Error::not_found(format!("`{}` is no folder that can be entered: {error}", clone.display()))
                .because(error)
        })?;
        Self::at(&home_of(&clone, account.can_reach(&clone)))
    }

    /// The place with the given home, for tests and for `MILLRACE_HOME`.
    ///
    /// # Errors
    /// When the path is relative or holds a character that `pg_ctl` cannot quote.
    pub fn at(home: &Path) -> Result<Self> {
        let text = home.to_str().unwrap_or("\n");
        if !home.is_absolute() || text.contains(['"', '\\', '$', '`', '\n', '\'']) {
            return Err(Error::invalid(format!(
                "`{}` cannot hold a cluster; choose an absolute path without quotes, backslashes, `$` or line ends",
                home.display()
            )));
        }
        Ok(Self { home: home.to_owned(), socket_dir: socket_dir_of(home) })
    }

    /// The folder of everything: keys, lock, log and, in folders of their own, data and socket.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The cluster's data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("pg")
    }

    /// The folder of the socket, mode 0700.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The two files by which a Postgres server keeps others off its data and its socket.
    pub(super) fn server_locks(&self) -> [PathBuf; 2] {
        [self.data().join("postmaster.pid"), self.socket_dir.join(format!("{SOCKET_NAME}.lock"))]
    }

    /// The folder of the server's log.
    pub fn log_dir(&self) -> PathBuf {
        self.home.join("log")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.log_dir().join("postgres.log")
    }

    /// The lock file of [`super::UpLock`].
    pub(super) fn lock(&self) -> PathBuf {
        self.home.join("up.lock")
    }

    /// The connection URL of one database for one role. Port and TLS mode are spelled out, so
    /// that `PGPORT` or `PGSSLMODE` in the caller's environment cannot bend it.
    pub fn url(&self, role: &str, database: &str) -> String {
        let host = encode(&self.socket_dir.to_string_lossy());
        format!("postgres:///{database}?host={host}&port=5432&user={role}&sslmode=disable")
    }
}

/// Where a clone keeps its data, given whether the cluster's user can enter the clone.
fn home_of(clone: &Path, reachable: bool) -> PathBuf {
    if reachable {
        return clone.join(IN_CLONE);
    }
    let name: String = clone
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .take(40)
        .collect();
    Path::new(OUTSIDE).join(format!("{}-{}", name.trim_start_matches('.'), digest(clone)))
}

/// The socket's folder: in the home if the kernel's limit allows, else a short one named by digest.
fn socket_dir_of(home: &Path) -> PathBuf {
    let near = home.join("run");
    if near.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_MAX_BYTES {
        near
    } else {
        PathBuf::from(format!("/tmp/millrace-{}", digest(home)))
    }
}

/// Eight hexadecimal digits that stand for a path.
fn digest(path: &Path) -> String {
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hex::encode(hash.get(..4).unwrap_or_default())
}

/// Percent-encodes all but what a path in a query string may hold.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lies_in_the_clone_or_under_a_name_of_its_own() {
        assert_eq!(home_of(Path::new("/srv/mill"), true), Path::new("/srv/mill/.millrace"));
        let one = home_of(Path::new("/root/mill race"), false);
        let other = home_of(Path::new("/root/b/mill race"), false);
        assert_ne!(one, other);
        assert!(one.to_string_lossy().starts_with("/var/lib/millrace/millrace-"), "{one:?}");
        assert_eq!(one, home_of(Path::new("/root/mill race"), false));
    }

    #[test]
    fn the_socket_fits_the_kernels_limit_however_deep_the_clone() {
        let deep = PathBuf::from(format!("/{}", "deep/".repeat(40)));
        for home in [PathBuf::from("/srv/x/.millrace"), deep] {
            let place = Place::at(&home).unwrap();
            assert!(place.socket_dir().join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_MAX_BYTES);
        }
    }

    #[test]
    fn a_url_is_safe_for_odd_paths_and_odd_paths_are_refused_where_nothing_can_quote_them() {
        let place = Place::at(Path::new("/srv/a b&c/.millrace")).unwrap();
        assert!(place.url("millrace", "millrace").contains("host=/srv/a%20b%26c/.millrace/run&port=5432&"));
        for odd in ["relative", "/a\"b", "/a$b", "/a`b", "/a\nb", "/a'b"] {
            assert!(Place::at(Path::new(odd)).is_err(), "{odd}");
        }
    }
}
