//! Two releases at once: workers of an older commit beside those of this one while the schema goes on, and this
//! one's on a schema that is one expansion further.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;

use crate::stage::Stage;

/// A schema that goes on as expansions do: a column for everybody, a table, another form of a function.
const EXPANSION: [&str; 7] = [
    "alter table job add column faults_more text not null default 'more'",
    "alter table job_lease add column faults_more integer",
    "alter table job_ready add column faults_more integer not null default 7",
    "alter table job_history add column faults_more jsonb",
    "create table faults_table (id bigint primary key, job_id bigint)",
    "create function job_claim_v999() returns bigint language sql as $$ select 999::bigint $$",
    "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (999, 'expansion', true, '', 0)",
];

/// The executable of the older commit, which `.ci/older` builds.
fn executable() -> Option<PathBuf> {
    let path = tests::process::binary().parent()?.parent()?.join("older/debug/millrace");
    path.is_file().then_some(path)
}

/// Why this cannot be played here.
pub(crate) fn missing() -> Option<String> {
    executable()
        .is_none()
        .then(|| "no executable of an older commit is here; `make faults` builds one".to_owned())
}

/// Makes a database's schema as the older executable knows it.
pub(crate) fn make_schema(url: &str) {
    let mut command = Command::new(executable().expect("it was looked for"));
    let made = command.arg("migrate").env_clear().env("DATABASE_URL", url).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Lets the command start the older executable.
pub(crate) fn of_older(command: &mut Command) {
    *command = instead(command, executable().expect("it was looked for"));
}

/// The same command of another executable.
pub(crate) fn instead(command: &Command, executable: PathBuf) -> Command {
    let mut other = Command::new(executable);
    other.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}

/// Under workers of the older release, brings the schema up to this one, lets both work side by side, and
/// replaces the older ones, one of which dies.
pub(crate) async fn roll(stage: &mut Stage<'_>) {
    let db = PgPoolOptions::new().max_connections(2).connect(stage.database.url()).await.unwrap();
    jobs::db::migrate(&db).await.unwrap();
    db.close().await;
    stage.recovers().await;
    stage.hire();
    stage.goes_on().await;
    tokio::time::sleep(stage.form.pick(Duration::from_secs(3), Duration::from_secs(40))).await;
    stage.kill(0);
    stage.recovers().await;
    stage.hire();
    stage.dismiss(0).await;
    stage.recovers().await;
}

/// Expands the schema further than this release knows, under its workers, of which one dies and another starts.
pub(crate) async fn expand(stage: &mut Stage<'_>) {
    let mut conn = stage.keeper().await;
    // Each alone: one transaction that locks several tables in which others work deadlocks with them.
    for statement in EXPANSION {
        sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    }
    stage.recovers().await;
    stage.kill(0);
    stage.hire();
    stage.recovers().await;
    // The one that was there before leaves: all is done by the one that began on a schema it does not know.
    stage.dismiss(0).await;
    stage.goes_on().await;
    stage.hire();
    tokio::time::sleep(stage.form.pick(Duration::from_secs(1), Duration::from_secs(20))).await;
    stage.recovers().await;
}
