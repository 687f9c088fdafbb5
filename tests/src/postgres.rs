//! Reaches `TEST_DATABASE_URL` or starts one private cluster for all tests of the process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use jobs::db::private::{Account, Cluster, Options, Place};
use rustix::fs::{Access, FlockOperation, access, flock, statvfs};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::OnceCell;

/// Names a server for tests to use in place of a private one; its role must be allowed to create
/// databases.
pub const URL_VARIABLE: &str = "TEST_DATABASE_URL";

/// The start of the name of each run's folder.
const PREFIX: &str = "millrace-test-";

/// Memory that is a folder. Every test makes and removes a database of many hundred files, which a file system on a
/// disk takes longer for than Postgres does; what forgets at a crash loses nothing by being kept here.
const MEMORY: &str = "/dev/shm";
/// How much of it has to be free to be used, in bytes: some three times as much as a run was seen to take.
const MEMORY_FREE: u64 = 4 << 30;

/// Waits for the end of its standard input, which is the end of the test process, however it comes
/// about; then ends the servers of the run and removes their files.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
for file in "$1"/*/pg/postmaster.pid; do
  [ -f "$file" ] || continue
  pid=$(head -n 1 "$file")
  kill -QUIT "$pid" 2>/dev/null
  tries=0
  while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 200 ]; do tries=$((tries + 1)); sleep 0.05; done
done
rm -rf "$1"
"#;

/// A server on which tests make databases.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// Whose options reach the server as a role that may create databases.
    keeper: PgConnectOptions,
    /// The role that tests work as: the product's own, no superuser, on a private cluster.
    role: PgConnectOptions,
    url: fn(&Postgres, &str) -> String,
    cluster: Option<Cluster>,
    base: String,
}

/// A cluster that belongs to one test, which may kill it. Stopped when dropped.
#[derive(Debug)]
pub struct Own {
    /// The server.
    pub postgres: Postgres,
    /// Its cluster.
    pub cluster: Cluster,
    options: Options,
}

impl Postgres {
    /// The server that all tests of this process share, started at the first call.
    ///
    /// # Panics
    /// When there is none to be had; the message is the product's own.
    pub async fn shared() -> &'static Postgres {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                match std::env::var(URL_VARIABLE) {
                    Ok(url) if !url.is_empty() => Postgres::at(url),
                    _ => Postgres::of(open(memory_folder, "shared", &Options::forgetful()).await),
                }
            })
            .await
    }

    /// A durable cluster for one test, to be killed and started again.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn own() -> Own {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let options = Options::durable();
        let name = format!("own-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let cluster = open(disk_folder, &name, &options).await;
        Own { postgres: Postgres::of(cluster.clone()), cluster, options }
    }

    fn at(url: String) -> Self {
        let keeper = PgConnectOptions::from_str(&url).expect("`TEST_DATABASE_URL` is a Postgres URL");
        let swap = |this: &Postgres, database: &str| {
            let (front, query) =
                this.base.split_once('?').map_or((this.base.as_str(), None), |(f, q)| (f, Some(q)));
            let authority = front.find("://").map_or(0, |at| at + 3);
            let end = front[authority..].find('/').map_or(front.len(), |at| authority + at);
            let query = query.map(|q| format!("?{q}")).unwrap_or_default();
            format!("{}/{database}{query}", &front[..end])
        };
        Self { role: keeper.clone(), keeper, url: swap, cluster: None, base: url }
    }

    fn of(cluster: Cluster) -> Self {
        let keeper = PgConnectOptions::from_str(&cluster.keeper_url("postgres")).expect("our own URL");
        let role = PgConnectOptions::from_str(&cluster.url()).expect("our own URL");
        let url = |this: &Postgres, database: &str| {
            this.cluster.as_ref().expect("made with one").place().url("millrace", database)
        };
        Self { keeper, role, url, base: String::new(), cluster: Some(cluster) }
    }

    /// How to connect as the role that may create databases.
    pub fn keeper(&self) -> &PgConnectOptions {
        &self.keeper
    }

    /// The name of the role that tests work as.
    pub fn role(&self) -> &str {
        self.role.get_username()
    }

    /// The URL of a database of this server, for the role that tests work as.
    pub fn url(&self, database: &str) -> String {
        (self.url)(self, database)
    }
}

impl Own {
    /// Starts the server again after it was killed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.cluster.restart(&self.options).await.unwrap_or_else(|e| panic!("{e}"));
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.stop_blocking() {
            eprintln!("a test's own cluster did not stop: {error}");
        }
    }
}

async fn open(folder: fn(&Account) -> &'static Path, name: &str, options: &Options) -> Cluster {
    let account = Account::current().unwrap_or_else(|e| panic!("{e}"));
    let place = Place::at(&folder(&account).join(name)).expect("a plain path");
    Cluster::open(&place, &account, options).await.unwrap_or_else(|e| panic!("{e}"))
}

/// The folder of this run on a disk, made once, together with the watchdog that removes it.
fn disk_folder(account: &Account) -> &'static Path {
    static FOLDER: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (folder, _lock) = FOLDER.get_or_init(|| {
        let temp = std::env::temp_dir();
        run_folder(if account.can_reach(&temp) { &temp } else { Path::new("/tmp") })
    });
    folder
}

/// The folder of this run in memory, or that on a disk where there is not enough.
fn memory_folder(account: &Account) -> &'static Path {
    static FOLDER: OnceLock<Option<(PathBuf, File)>> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let memory = Path::new(MEMORY);
        let free = statvfs(memory).map_or(0, |of| of.f_bavail * of.f_frsize);
        let fit =
            free >= MEMORY_FREE && account.can_reach(memory) && access(memory, Access::WRITE_OK).is_ok();
        fit.then(|| run_folder(memory))
    });
    made.as_ref().map_or_else(|| disk_folder(account), |(folder, _lock)| folder)
}

/// Makes a folder for this run, and sweeps away what others left.
fn run_folder(root: &Path) -> (PathBuf, File) {
    sweep(root);
    let folder = root.join(format!("{PREFIX}{}", std::process::id()));
    let lock = claim(&folder).expect("the temporary folder can be written");
    watch(&folder);
    (folder, lock)
}

/// Makes the folder with a lock that lives as long as this process. It appears under its name only
/// once it is locked, so that another run never takes it for a leftover.
fn claim(folder: &Path) -> io::Result<File> {
    let draft = folder.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    fs::create_dir(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o711))?;
    let lock = File::create(draft.join("owner.lock"))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(&draft, folder)?;
    Ok(lock)
}

fn watch(folder: &Path) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCHDOG, "watchdog"]).arg(folder).current_dir("/");
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("`/bin/sh` can be started");
    // Its standard input stays open until this process ends, which is what it waits for.
    std::mem::forget(child);
}

/// Removes what a run left whose watchdog was killed too.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let folder = entry.path();
        let ours = entry.file_name().to_str().is_some_and(|n| n.starts_with(PREFIX) && !n.ends_with(".new"));
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(folder.join("owner.lock")) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let account = Account::current().unwrap_or_else(|e| panic!("{e}"));
        for home in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let running = Place::at(&home.path()).and_then(|place| Cluster::running(&place, &account));
            if let Ok(Some(cluster)) = running {
                cluster.stop_blocking().unwrap_or_else(|e| panic!("{e}"));
            }
        }
        if let Err(error) = fs::remove_dir_all(&folder) {
            eprintln!("the leftover `{}` cannot be removed: {error}", folder.display());
        }
    }
}
