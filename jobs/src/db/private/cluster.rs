//! Opens, adopts and stops the private cluster.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use super::super::wall::DbRole;
use super::command::{command, run};
use super::settings::HBA;
use super::{Account, Binaries, Options, Place, postmaster};
use crate::{Code, Error, Result};

/// Free disk space without which a start is refused, in bytes: a fresh cluster with its write-ahead
/// log takes a fifth of it, and a Postgres whose disk is full stops in the middle of its work.
pub const MIN_FREE_BYTES: u64 = 512 * 1024 * 1024;

/// The database's superuser, used to make the role and the database and by tests.
const KEEPER: &str = "keeper";
/// The role that Millrace works as, no superuser, and the name of its database.
const ROLE: &str = "millrace";
/// How long `initdb` may take, in seconds; a slow disk needs ten.
const INIT_LIMIT_S: u64 = 120;
/// How long a start may take, in seconds; recovery after a crash reads up to 1 GB of log.
const START_LIMIT_S: u64 = 120;
/// How long a stop may take before it is made immediate, in seconds.
const STOP_LIMIT_S: u64 = 30;
/// How often a server that is starting up is asked, in milliseconds.
const ASK_EVERY_MS: u64 = 50;
/// The server's log is put aside at a start above this size, in bytes.
const LOG_KEEP_BYTES: u64 = 16 * 1024 * 1024;

/// A running private cluster. Dropping it leaves the server running; [`Cluster::stop`] ends it.
#[derive(Debug, Clone)]
pub struct Cluster {
    place: Place,
    account: Account,
    binaries: Binaries,
    adopted: bool,
}

impl Cluster {
    /// Opens the cluster of a place: makes it if there is none, starts it or adopts the running one,
    /// and makes sure that the role and the database `millrace` exist.
    ///
    /// The caller holds the place's [`super::UpLock`] or is otherwise its only user.
    ///
    /// # Errors
    /// When Postgres is missing, the data is of another major version or another owner, the disk is
    /// full, or the server does not start; each message says what to do.
    pub async fn open(place: &Place, account: &Account, options: &Options) -> Result<Self> {
        let (p, a, o) = (place.clone(), account.clone(), options.clone());
        let cluster =
            tokio::task::spawn_blocking(move || Self::launch(p, a, &o)).await.map_err(Error::internal)??;
        cluster.furnish().await?;
        Ok(cluster)
    }

    /// The cluster of a place if it runs now; starts nothing.
    ///
    /// # Errors
    /// When no Postgres programs match the data.
    pub fn running(place: &Place, account: &Account) -> Result<Option<Self>> {
        if postmaster::running(&place.data()).is_none() {
            return Ok(None);
        }
        let binaries = Binaries::find(recorded_major(&place.data()))?;
        Ok(Some(Self { place: place.clone(), account: account.clone(), binaries, adopted: true }))
    }

    /// The URL that Millrace connects with, as its own role.
    pub fn url(&self) -> String {
        Self::url_at(&self.place)
    }

    /// The URL that the cluster of a place has whenever it runs.
    pub fn url_at(place: &Place) -> String {
        place.url(ROLE, ROLE)
    }

    /// The superuser's URL of a database.
    pub fn keeper_url(&self, database: &str) -> String {
        self.place.url(KEEPER, database)
    }

    /// Whether the server was found running.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The server's pid, if it runs.
    pub fn pid(&self) -> Option<u32> {
        postmaster::running(&self.place.data())
    }

    /// The programs it runs with.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Starts the server again after it died; for a cluster that was opened before.
    ///
    /// # Errors
    /// As [`Cluster::open`].
    pub async fn restart(&self, options: &Options) -> Result<()> {
        Self::open(&self.place, &self.account, options).await.map(drop)
    }

    /// Stops the server: open transactions are rolled back, everything committed stays.
    ///
    /// # Errors
    /// When it does not stop even when told to at once.
    pub async fn stop(&self) -> Result<()> {
        let cluster = self.clone();
        tokio::task::spawn_blocking(move || cluster.stop_blocking()).await.map_err(Error::internal)?
    }

    /// As [`Cluster::stop`], for callers without a runtime.
    ///
    /// # Errors
    /// As [`Cluster::stop`].
    pub fn stop_blocking(&self) -> Result<()> {
        if self.pid().is_none() {
            return Ok(());
        }
        self.pg_ctl_stop("fast").or_else(|error| {
            if self.pid().is_none() {
                return Ok(());
            }
            tracing::warn!(%error, "postgres did not stop in time; stopping it at once");
            self.pg_ctl_stop("immediate")
        })
    }

    fn pg_ctl_stop(&self, mode: &str) -> Result<()> {
        let limit = Duration::from_secs(STOP_LIMIT_S);
        let mut stop = command(&self.binaries.program("pg_ctl"), &self.account);
        stop.arg("stop").arg("-D").arg(self.place.data()).args(["-m", mode, "-w", "-t"]);
        run(stop.arg(STOP_LIMIT_S.to_string()), limit + Duration::from_secs(5)).map(drop)
    }

    /// The part that only touches files and processes.
    fn launch(place: Place, account: Account, options: &Options) -> Result<Self> {
        let data = place.data();
        check_owner(&data, &account)?;
        let major = recorded_major(&data);
        if major.is_none() {
            check_vacant(&data)?;
        }
        let binaries = Binaries::find(major)?;
        let adopted = postmaster::running(&data).is_some();
        let cluster = Self { place, account, binaries, adopted };
        if !adopted {
            cluster.furnish_folders()?;
            check_space(cluster.place.home())?;
            if recorded_major(&data).is_none() {
                cluster.initialise(options)?;
            }
            cluster.start(options)?;
        }
        Ok(cluster)
    }

    fn furnish_folders(&self) -> Result<()> {
        let home = self.place.home();
        fs::create_dir_all(home).map_err(|error| unwritable(home, &error))?;
        // The cluster's user passes through the home but may not list it; the keys in it are 0600.
        let mode = if self.account.switch { 0o711 } else { 0o700 };
        fs::set_permissions(home, fs::Permissions::from_mode(mode))
            .map_err(|error| unwritable(home, &error))?;
        self.own_folder(self.place.socket_dir())?;
        self.own_folder(&self.place.log_dir())
    }

    /// Makes a folder that only the cluster's account may enter.
    fn own_folder(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        let found = fs::symlink_metadata(folder).map_err(|error| unwritable(folder, &error))?;
        // A socket folder below /tmp could have been laid by another user.
        if !found.is_dir() || (found.uid() != self.account.uid && !self.account.switch) {
            return Err(Error::conflict(format!(
                "`{}` belongs to another user; remove it",
                folder.display()
            )));
        }
        if self.account.switch {
            chown(folder, Some(self.account.uid), Some(self.account.gid))
                .map_err(|e| unwritable(folder, &e))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(|error| unwritable(folder, &error))
    }

    /// Makes the data directory beside its final place and moves it there whole, so that a killed
    /// `initdb` never leaves half a cluster that looks like one.
    fn initialise(&self, options: &Options) -> Result<()> {
        let draft = self.place.home().join("pg.new");
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(|error| unwritable(&draft, &error))?;
        }
        self.own_folder(&draft)?;
        let mut init = command(&self.binaries.program("initdb"), &self.account);
        init.arg("-D").arg(&draft).args([
            "-U",
            KEEPER,
            "-E",
            "UTF8",
            "--locale=C",
            "--data-checksums",
            "--auth=trust",
        ]);
        if !options.durable {
            init.arg("--no-sync");
        }
        run(&mut init, Duration::from_secs(INIT_LIMIT_S))?;
        let data = self.place.data();
        if data.exists() {
            fs::remove_dir(&data).map_err(|error| unwritable(&data, &error))?;
        }
        fs::rename(&draft, &data).map_err(|error| unwritable(&data, &error))
    }

    fn start(&self, options: &Options) -> Result<()> {
        let data = self.place.data();
        postmaster::clear_leftovers(&data, &self.place.server_locks())?;
        self.write(&data.join("postgresql.conf"), &options.render(&self.place))?;
        self.write(&data.join("pg_hba.conf"), HBA)?;
        let log = self.place.log();
        if fs::metadata(&log).is_ok_and(|m| m.len() > LOG_KEEP_BYTES) {
            fs::rename(&log, log.with_extension("log.old")).map_err(|error| unwritable(&log, &error))?;
        }
        let mut start = command(&self.binaries.program("pg_ctl"), &self.account);
        // pg_ctl gives the server a session of its own, so a ctrl-c in the terminal does not reach it.
        start.arg("start").arg("-D").arg(&data).arg("-l").arg(&log).args(["-s", "-w", "-t"]);
        start.arg(START_LIMIT_S.to_string());
        run(&mut start, Duration::from_secs(START_LIMIT_S + 5)).map(drop).map_err(|error| {
            Error::new(
                Code::Unavailable,
                format!(
                    "Postgres did not start in `{}`; the end of `{}` says:\n{}",
                    data.display(),
                    log.display(),
                    tail(&log)
                ),
            )
            .because(error)
        })
    }

    fn write(&self, path: &PathBuf, text: &str) -> Result<()> {
        fs::write(path, text).map_err(|error| unwritable(path, &error))?;
        chown(path, Some(self.account.uid), Some(self.account.gid)).map_err(|error| unwritable(path, &error))
    }

    /// Waits until the server answers, then makes the role and its database unless they are there.
    async fn furnish(&self) -> Result<()> {
        let mut keeper = self.connect_when_ready().await?;
        let role: Option<i32> = sqlx::query_scalar("select 1 from pg_roles where rolname = $1")
            .bind(ROLE)
            .fetch_optional(&mut keeper)
            .await?;
        if role.is_none() {
            sqlx::query(AssertSqlSafe(format!("create role {ROLE} login"))).execute(&mut keeper).await?;
        }
        for role in DbRole::ALL.map(DbRole::name) {
            let there: Option<i32> = sqlx::query_scalar("select 1 from pg_roles where rolname = $1")
                .bind(role)
                .fetch_optional(&mut keeper)
                .await?;
            if there.is_none() {
                let statement = format!("create role {role} nologin");
                sqlx::query(AssertSqlSafe(statement)).execute(&mut keeper).await?;
            }
            sqlx::query(AssertSqlSafe(format!("grant {role} to {ROLE}"))).execute(&mut keeper).await?;
        }
        // Who reports on the server must see how old the transactions of others are, a person's console above all.
        let sight = format!("grant pg_read_all_stats to {}", DbRole::Worker.name());
        sqlx::query(AssertSqlSafe(sight)).execute(&mut keeper).await?;
        let database: Option<i32> = sqlx::query_scalar("select 1 from pg_database where datname = $1")
            .bind(ROLE)
            .fetch_optional(&mut keeper)
            .await?;
        if database.is_none() {
            sqlx::query(AssertSqlSafe(format!("create database {ROLE} owner {ROLE}")))
                .execute(&mut keeper)
                .await?;
        }
        keeper.close().await?;
        Ok(())
    }

    async fn connect_when_ready(&self) -> Result<PgConnection> {
        let options: PgConnectOptions = self.keeper_url("postgres").parse()?;
        let options = options.disable_statement_logging();
        let deadline = Instant::now() + Duration::from_secs(START_LIMIT_S);
        loop {
            match options.connect().await {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() >= deadline => {
                    let log = self.place.log();
                    return Err(Error::new(
                        Code::Unavailable,
                        format!(
                            "Postgres in `{}` does not answer after {START_LIMIT_S} s; the end of `{}` says:\n{}",
                            self.place.data().display(),
                            log.display(),
                            tail(&log)
                        ),
                    )
                    .because(error));
                }
                Err(error) => tracing::debug!(%error, "postgres is not ready yet"),
            }
            tokio::time::sleep(Duration::from_millis(ASK_EVERY_MS)).await;
        }
    }
}

/// The major version that made the data, if there is any.
fn recorded_major(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Refuses to make a cluster where something else lies, before anything is made.
fn check_vacant(data: &Path) -> Result<()> {
    match fs::read_dir(data).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(Error::conflict(format!(
            "`{}` is not empty, and its file `PG_VERSION` does not tell of which Postgres it is; restore that file, or \
             move the folder away to start anew",
            data.display()
        ))),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(data, &error)),
    }
}

fn check_owner(data: &Path, account: &Account) -> Result<()> {
    match fs::metadata(data) {
        Ok(found) if found.uid() != account.uid => Err(Error::conflict(format!(
            "the data in `{}` belongs to user id {} and this process would run Postgres as {}; \
             run as the user who made it (root, if it was `sudo make up`), or delete it as that user with `make reset`",
            data.display(),
            found.uid(),
            account.uid
        ))),
        _ => Ok(()),
    }
}

fn check_space(home: &Path) -> Result<()> {
    let disk = rustix::fs::statvfs(home).map_err(Error::internal)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= MIN_FREE_BYTES {
        return Ok(());
    }
    const MB: u64 = 1024 * 1024;
    Err(Error::new(
        Code::Exhausted,
        format!(
            "the disk of `{}` has {} MB free and a start needs {} MB; free some space",
            home.display(),
            free / MB,
            MIN_FREE_BYTES / MB
        ),
    ))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("`{}` cannot be written: {error}; check its owner and the disk", path.display()))
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    const LINES: usize = 8;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}
