//! Finds the machine's own Postgres server programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result};

/// The oldest major version of Postgres that Millrace supports.
pub const MIN_MAJOR: u32 = 15;

/// Where Debian and its relatives keep one folder per major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// The server programs of one Postgres version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder that holds `initdb`, `pg_ctl` and `postgres`.
    pub dir: PathBuf,
    /// Major version, such as 15.
    pub major: u32,
}

impl Binaries {
    /// Finds the programs of major version `wanted`, or the newest ones when nothing is wanted.
    ///
    /// Debian's folders come first, then `pg_config`, then `PATH`.
    ///
    /// # Errors
    /// When no supported version is installed, or not the wanted one; the message names what is there.
    pub fn find(wanted: Option<u32>) -> Result<Self> {
        let found = Self::all();
        choose(&found, wanted).cloned().ok_or_else(|| missing(&found, wanted))
    }

    fn all() -> Vec<Self> {
        let mut dirs: Vec<PathBuf> = fs::read_dir(DEBIAN_ROOT)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        if let Some(printed) = output(Command::new("pg_config").arg("--bindir")) {
            dirs.push(PathBuf::from(printed.trim()));
        }
        for dir in env::split_paths(&env::var_os("PATH").unwrap_or_default()) {
            // A link in PATH points to one program; its siblings lie where it points to.
            if let Ok(program) = dir.join("postgres").canonicalize()
                && let Some(parent) = program.parent()
            {
                dirs.push(parent.to_owned());
            }
        }
        let mut found: Vec<Self> = Vec::new();
        for dir in dirs {
            if found.iter().all(|known| known.dir != dir)
                && let Some(major) = probe(&dir)
            {
                found.push(Self { dir, major });
            }
        }
        found
    }

    /// The full path of one program, such as `pg_ctl`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The major version in a folder, if all three programs are there and answer.
fn probe(dir: &Path) -> Option<u32> {
    let complete = ["initdb", "pg_ctl", "postgres"].iter().all(|name| dir.join(name).is_file());
    if !complete {
        return None;
    }
    parse_major(&output(Command::new(dir.join("postgres")).arg("--version"))?)
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads `15` out of `postgres (PostgreSQL) 15.18 (Debian …)` or `16beta1`.
fn parse_major(line: &str) -> Option<u32> {
    let version = line.split_once(") ")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn choose(found: &[Binaries], wanted: Option<u32>) -> Option<&Binaries> {
    match wanted {
        Some(major) => found.iter().find(|b| b.major == major),
        None => {
            // `max_by_key` would take the last of equals; the first found is the preferred one.
            found
                .iter()
                .filter(|b| b.major >= MIN_MAJOR)
                .reduce(|best, b| if b.major > best.major { b } else { best })
        }
    }
}

fn missing(found: &[Binaries], wanted: Option<u32>) -> Error {
    let there = if found.is_empty() {
        "none is installed".to_owned()
    } else {
        let list: Vec<String> =
            found.iter().map(|b| format!("{} in `{}`", b.major, b.dir.display())).collect();
        format!("found only {}", list.join(", "))
    };
    match wanted {
        Some(major) => Error::conflict(format!(
            "the data was made by Postgres {major} and {there}; install `postgresql-{major}`, \
             or run `make reset` to delete the data and start anew"
        )),
        None => Error::not_found(format!(
            "no Postgres server of version {MIN_MAJOR} or newer ({there}); run `make setup`, \
             install `postgresql-{MIN_MAJOR}`, or set `DATABASE_URL`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(major: u32) -> Binaries {
        Binaries { dir: PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")), major }
    }

    #[test]
    fn the_major_version_is_read_from_what_postgres_prints() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(parse_major("postgres"), None);
    }

    #[test]
    fn the_newest_is_chosen_unless_the_data_wants_another() {
        let found = [at(13), at(15), at(17)];
        assert_eq!(choose(&found, None).map(|b| b.major), Some(17));
        assert_eq!(choose(&found, Some(15)).map(|b| b.major), Some(15));
        assert_eq!(choose(&found, Some(16)), None);
        assert_eq!(choose(&[at(14)], None), None);
    }

    #[test]
    fn the_refusal_names_both_versions_and_the_remedy() {
        let message = missing(&[at(15)], Some(17)).to_string();
        for part in ["Postgres 17", "15 in `/usr/lib/postgresql/15/bin`", "`postgresql-17`", "`make reset`"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
