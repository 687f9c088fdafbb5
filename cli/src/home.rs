//! Finds what belongs to this clone: its private cluster, its lock, its generated secrets.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jobs::db::private::{Account, Cluster, Place};
use jobs::{Error, Result};

/// Names the folder of the data directly, instead of the clone's own.
pub(crate) const HOME_VARIABLE: &str = "MILLRACE_HOME";

/// The folder in a clone by which it is known.
const MARK: &str = ".millrace";

/// The file with the generated secrets, as lines of `NAME=value`.
const SECRETS: &str = "secrets";
/// The file with the first administrator's password.
const PASSWORD: &str = "admin-password";
/// The file with a password that is about to be set.
const PASSWORD_DRAFT: &str = "admin-password.draft";
/// The file with the address on which the running `up` listens.
const ADDRESS: &str = "address";
/// How the name of a file ends that is being written.
const UNFINISHED: &str = "new";

/// All that is written by [`write_secret`].
const WRITTEN: [&str; 4] = [SECRETS, PASSWORD, PASSWORD_DRAFT, ADDRESS];

/// What belongs to one clone.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) place: Place,
    pub(crate) account: Account,
    /// The clone, unless the data's folder was named directly.
    clone: Option<PathBuf>,
}

impl Home {
    /// The home of the nearest folder, from here upwards, in which `up` has run; else of this one.
    pub(crate) fn find() -> Result<Self> {
        let account = Account::current()?;
        if let Some(home) = std::env::var_os(HOME_VARIABLE).filter(|v| !v.is_empty()) {
            return Ok(Self { place: Place::at(Path::new(&home))?, account, clone: None });
        }
        let here = std::env::current_dir().map_err(|error| {
            Error::invalid("the current folder does not exist any more; change into the clone").because(error)
        })?;
        let clone = here.ancestors().find(|folder| folder.join(MARK).is_dir()).unwrap_or(&here).to_owned();
        Ok(Self { place: Place::of(&clone, &account)?, account, clone: Some(clone) })
    }

    /// Makes the folder, and marks the clone when its data lies elsewhere.
    pub(crate) fn prepare(&self) -> Result<()> {
        fs::create_dir_all(self.place.home()).map_err(|e| unwritable(self.place.home(), &e))?;
        let Some(mark) = self.clone.as_ref().map(|clone| clone.join(MARK)) else { return Ok(()) };
        if mark != self.place.home() {
            fs::create_dir_all(&mark).map_err(|e| unwritable(&mark, &e))?;
            let note = mark.join("README");
            let text = format!(
                "The user that runs Postgres cannot enter this clone, so the data is in\n{}\n",
                self.place.home().display()
            );
            fs::write(&note, text).map_err(|e| unwritable(&note, &e))?;
        }
        Ok(())
    }

    /// The mark in the clone, where it is not the home itself.
    pub(crate) fn mark(&self) -> Option<PathBuf> {
        let mark = self.clone.as_ref()?.join(MARK);
        (mark != self.place.home()).then_some(mark)
    }

    /// The private cluster, if it runs now.
    pub(crate) fn cluster(&self) -> Result<Option<Cluster>> {
        Cluster::running(&self.place, &self.account)
    }

    /// The file with the generated secrets, as lines of `NAME=value`.
    pub(crate) fn secrets_file(&self) -> PathBuf {
        self.place.home().join(SECRETS)
    }

    /// The file with the first administrator's password.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.place.home().join(PASSWORD)
    }

    /// The file with a password that is about to be set.
    pub(crate) fn password_draft(&self) -> PathBuf {
        self.place.home().join(PASSWORD_DRAFT)
    }

    /// Every file that is written here, and what a process that died left of one.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        let files = WRITTEN.map(|name| self.place.home().join(name));
        files.iter().flat_map(|file| [file.clone(), unfinished(file)]).collect()
    }

    /// The file with the address on which the running `up` listens.
    pub(crate) fn address_file(&self) -> PathBuf {
        self.place.home().join(ADDRESS)
    }

    /// The generated secrets; none before the first `up`.
    pub(crate) fn secrets(&self) -> Result<BTreeMap<String, String>> {
        let path = self.secrets_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(Error::invalid(format!(
                "`{}` cannot be read: {error}; run as the user who ran `up`, or name a \
                 folder of your own in `MILLRACE_HOME`",
                path.display()
            ))),
        }
    }
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// Invalid when the folder cannot be written.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let draft = unfinished(path);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        // The name is kept by the folder: a machine that stops now must not lose the file with it.
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(|e| unwritable(path, &e))
}

/// Where a file is written before it takes its name.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    name.into()
}

fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("`{}` cannot be written: {error}; check its owner and the disk", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_what_base64_holds() {
        let read = parse("# made once\nA=1:ab+/=\n\nB = two\nno value\n");
        assert_eq!(read.get("A").map(String::as_str), Some("1:ab+/="));
        assert_eq!(read.get("B").map(String::as_str), Some("two"));
        assert_eq!(read.len(), 2);
    }
}
