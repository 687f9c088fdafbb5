//! Runs any set of roles in this process until the shutdown: all of them for `up`, else one.

use anyhow::Context as _;
use jobs::config::{DatabaseConfig, Reader};
use jobs::db::{PgPool, SchemaState};
use jobs::queue::Wake;
use rules::queue::Pool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::WorkerConfig;

use crate::settings::Settings;

/// Which roles a process plays.
#[derive(Debug, Clone)]
pub(crate) struct Roles {
    /// The pools that it works; none for a process that is no worker.
    pub(crate) pools: Vec<Pool>,
}

/// All settings of these roles.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) database: DatabaseConfig,
    worker: Option<WorkerConfig>,
}

impl Config {
    /// Reads what the roles need.
    pub(crate) fn read(reader: &mut Reader<'_>, roles: &Roles) -> Self {
        let database = DatabaseConfig::read(reader);
        let worker = (!roles.pools.is_empty()).then(|| WorkerConfig::read(reader, roles.pools.clone()));
        Self { database, worker }
    }
}

/// `millrace api`, `worker` and `scheduler`: the roles on a database that is ready for them.
pub(crate) async fn run(roles: &Roles) -> anyhow::Result<()> {
    let settings = Settings::find()?;
    let config = settings.read(|reader| Config::read(reader, roles))?;
    let shutdown = jobs::shutdown::on_signal().context("signals cannot be handled")?;
    let db = jobs::db::connect(&config.database).await?;
    match jobs::db::schema_state(&db).await? {
        SchemaState::Current => {}
        SchemaState::Behind(missing) => {
            return Err(jobs::Error::conflict(format!(
                "the database lacks {missing} migration(s) that this executable needs; run `millrace migrate` first"
            ))
            .into());
        }
        // Refuses with the reason, and changes nothing.
        SchemaState::Ahead(_) => jobs::db::migrate(&db).await?,
    }
    play(config, db, shutdown).await
}

/// Plays the roles until the shutdown, or until one of them cannot go on, which ends the others.
pub(crate) async fn play(config: Config, db: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    let wake = Wake::start(&db, &shutdown);
    let mut playing: JoinSet<anyhow::Result<()>> = JoinSet::new();
    if let Some(worker) = config.worker {
        let context = workers::Context { db: db.clone(), wake };
        let shutdown = shutdown.clone();
        playing.spawn(async move { Ok(workers::run(worker, context, shutdown).await?) });
    }
    let mut first = Ok(());
    while let Some(ended) = playing.join_next().await {
        let ended = ended.context("a role panicked").and_then(|result| result);
        if !shutdown.is_cancelled() {
            tracing::error!("a role ended by itself; stopping the others");
            shutdown.cancel();
        }
        first = first.and(ended);
    }
    db.close().await;
    first
}
