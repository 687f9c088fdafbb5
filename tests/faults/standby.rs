//! The failover to a synchronous standby: what was accepted is there, and everybody is led to it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use jobs::db::private::{Account, Binaries, Place};
use sqlx::postgres::PgConnectOptions;
use tests::{fault, wait};

use crate::stage::Stage;

/// Lets a standby copy from a private server, whose own file lets nobody.
const HBA: &str = "local all all trust\nlocal replication all trust\n";

/// A standby of a private server, with files of its own. Stopped when dropped.
struct Standby {
    place: Place,
    account: Account,
    binaries: Binaries,
}

impl Standby {
    /// Copies the server and follows it.
    fn of(place: &Place, binaries: &Binaries) -> Self {
        let account = Account::current().unwrap();
        // Beside the other servers of the run, whose watchdog ends it, too.
        let home = place.home().with_file_name("standby");
        let standby = Self { place: Place::at(&home).unwrap(), account, binaries: binaries.clone() };
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o711)).unwrap();
        for folder in [standby.place.data(), standby.place.socket_dir().to_owned(), standby.place.log_dir()] {
            standby.own_folder(&folder);
        }
        let data = standby.place.data();
        let from = place.socket_dir().to_str().unwrap().to_owned();
        standby.run("pg_basebackup", &["-h", &from, "-U", "keeper", "-R", "-c", "fast", "-D"], &data);
        let socket = format!("-c unix_socket_directories='{}'", standby.place.socket_dir().display());
        let log = standby.place.log();
        standby.run(
            "pg_ctl",
            &["start", "-w", "-s", "-l", log.to_str().unwrap(), "-o", &socket, "-D"],
            &data,
        );
        standby
    }

    fn own_folder(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        if self.account.switch {
            chown(folder, Some(self.account.uid), Some(self.account.gid)).unwrap();
        }
    }

    /// Runs one of Postgres' programs on the standby's data as the server's user.
    fn run(&self, program: &str, arguments: &[&str], data: &Path) {
        let mut command = Command::new(self.binaries.program(program));
        command.args(arguments).arg(data).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        if self.account.switch {
            command.uid(self.account.uid).gid(self.account.gid);
        }
        let ended = command.status().unwrap();
        assert!(ended.success(), "`{program}`: {ended}");
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let data = self.place.data();
        self.run("pg_ctl", &["stop", "-s", "-m", "immediate", "-D"], &data);
        drop(fs::remove_dir_all(self.place.home()));
    }
}

/// Makes a synchronous standby, kills the server, promotes the standby and leads everybody to it.
pub(crate) async fn fail_over(stage: &mut Stage<'_>) {
    let cluster = &stage.own.cluster;
    let run = async |statement: &'static str| {
        let mut keeper = stage.keeper().await;
        sqlx::query(statement).execute(&mut keeper).await.unwrap();
    };
    run("alter system set wal_level = 'replica'").await;
    run("alter system set max_wal_senders = 4").await;
    cluster.stop().await.unwrap();
    stage.own.restart().await;
    fs::write(cluster.place().data().join("pg_hba.conf"), HBA).unwrap();
    run("select pg_reload_conf()").await;
    let (place, binaries) = (cluster.place().clone(), cluster.binaries().clone());
    let standby = tokio::task::spawn_blocking(move || Standby::of(&place, &binaries)).await.unwrap();
    // The copy has no such setting: the promoted server waits for nobody.
    run("alter system set synchronous_standby_names = '*'").await;
    run("select pg_reload_conf()").await;
    wait::until("the standby is synchronous", || async {
        let mut keeper = stage.keeper().await;
        let sql = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        sqlx::query_scalar(sql).fetch_one(&mut keeper).await.unwrap()
    })
    .await;
    stage.runs().await;

    fault::kill_postgres(stage.own);
    let data = standby.place.data();
    standby.run("pg_ctl", &["promote", "-w", "-s", "-D"], &data);
    let options: PgConnectOptions = stage.database.url().parse().unwrap();
    let name = options.get_database().unwrap();
    stage.proxy.as_ref().expect("a stage with lines").lead_to(&standby.place.url("millrace", name));
    stage.keeper_url = standby.place.url("keeper", name);
    stage.keep(standby);
    stage.recovers().await;
}
