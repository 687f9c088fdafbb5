//! As which user of the machine the cluster's processes run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Code, Error, Result};

/// Who owns the cluster's files and runs its processes.
///
/// Postgres refuses to run as root. Under root the cluster alone runs as the user `postgres`, which
/// Debian's package creates; otherwise it runs as whoever calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
    /// Whether the caller is root, so that children must change to this user.
    pub switch: bool,
}

/// The user that runs the cluster when the caller is root.
const CLUSTER_USER: &str = "postgres";

impl Account {
    /// The account for the calling process.
    ///
    /// # Errors
    /// When the caller is root and the machine has no user `postgres`.
    pub fn current() -> Result<Self> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if !uid.is_root() {
            return Ok(Self { uid: uid.as_raw(), gid: gid.as_raw(), switch: false });
        }
        let table = fs::read_to_string("/etc/passwd").map_err(|error| {
            Error::new(
                Code::Unavailable,
                "`/etc/passwd` cannot be read; it tells which user runs the cluster under root",
            )
            .because(error)
        })?;
        lookup(&table, CLUSTER_USER).map(|(uid, gid)| Self { uid, gid, switch: true }).ok_or_else(|| {
            Error::not_found(
                "Postgres refuses to run as root and the user `postgres` does not exist; \
                 run `make setup`, which installs the package that creates it, or run as an ordinary user",
            )
        })
    }

    /// Whether this account may pass through the folder and each of its ancestors. The caller itself
    /// always may, since it stands there.
    pub fn can_reach(&self, folder: &Path) -> bool {
        !self.switch
            || folder.ancestors().all(|ancestor| {
                fs::metadata(ancestor).is_ok_and(|m| may_enter(m.mode(), m.uid(), m.gid(), self))
            })
    }
}

/// Whether permission bits let the account enter a folder: the first class that fits decides.
fn may_enter(mode: u32, owner: u32, group: u32, account: &Account) -> bool {
    let bit = if owner == account.uid {
        0o100
    } else if group == account.gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

/// Finds a user's ids in the text of a passwd file.
fn lookup(table: &str, name: &str) -> Option<(u32, u32)> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: Account = Account { uid: 102, gid: 104, switch: true };

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let table = "root:x:0:0:root:/root:/bin/bash\npostgresql:x:5:6::/:/x\npostgres:x:102:104:a,b:/var/lib:/bin/bash\n";
        assert_eq!(lookup(table, "postgres"), Some((102, 104)));
        assert_eq!(lookup(table, "nobody"), None);
        assert_eq!(lookup("postgres:x:many:104", "postgres"), None);
    }

    #[test]
    fn a_folder_is_entered_by_the_first_class_that_fits() {
        assert!(!may_enter(0o40700, 0, 0, &POSTGRES));
        assert!(may_enter(0o40701, 0, 0, &POSTGRES));
        assert!(may_enter(0o40710, 0, 104, &POSTGRES));
        assert!(!may_enter(0o40701, 0, 104, &POSTGRES));
        assert!(!may_enter(0o40077, 102, 0, &POSTGRES));
    }
}
