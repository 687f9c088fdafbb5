//! Runs any set of roles in this process until the shutdown: all of them for `up`, else one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use api::ApiConfig;
use jobs::config::{DatabaseConfig, Reader};
use jobs::db::{PgPool, SchemaState};
use jobs::queue::Wake;
use jobs::trace::LogConfig;
use jobs::{Code, Error};
use rules::queue::Pool;
use rules::seal::Keyring;
use scheduler::SchedulerConfig;
use script::Sandbox;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::WorkerConfig;

use crate::confined::Confined;
use crate::hypervisor::{HostSettings, Served};
use crate::secrets;
use crate::settings::Settings;

/// The variable with the keys that seal secrets at rest.
pub(crate) const KEYRING_VARIABLE: &str = "KEYRING";

/// The settings that place the API: the port, and all of them.
const API_AT: (&str, &str) = ("`PORT`", "`BIND` and `PORT`");

/// The same of the figures of a process without an API.
const FIGURES_AT: (&str, &str) = ("`METRICS_BIND`", "`METRICS_BIND`");

/// Which roles a process plays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    /// It serves the API.
    pub(crate) api: bool,
    /// The pools that it works; none for a process that is no worker.
    pub(crate) pools: Vec<Pool>,
    /// The hosts that it serves.
    pub(crate) hosts: Vec<Served>,
    /// It stands for leader.
    pub(crate) scheduler: bool,
}

/// All settings of these roles.
pub(crate) struct Config {
    pub(crate) database: DatabaseConfig,
    log: LogConfig,
    pub(crate) keyring: Option<Arc<Keyring>>,
    api: Option<ApiConfig>,
    worker: Option<WorkerConfig>,
    hosts: Vec<HostSettings>,
    scheduler: Option<SchedulerConfig>,
    /// Where `/livez` and `/metrics` are answered by a process that has no API to do it.
    figures: Option<SocketAddr>,
    confined: Confined,
}

impl Config {
    /// Reads what the roles need.
    pub(crate) fn read(reader: &mut Reader<'_>, roles: &Roles) -> Self {
        let works = !roles.pools.is_empty() || !roles.hosts.is_empty();
        Self {
            log: LogConfig::read(reader),
            database: DatabaseConfig::read(reader),
            // Only the API seals and opens: it verifies deliveries before they are stored.
            keyring: roles.api.then(|| read_keyring(reader)).flatten(),
            api: roles.api.then(|| ApiConfig::read(reader)),
            worker: works.then(|| WorkerConfig::read(reader, roles.pools.clone())),
            hosts: roles.hosts.iter().map(|served| HostSettings::read(reader, served.clone())).collect(),
            scheduler: roles.scheduler.then(|| SchedulerConfig::read(reader)),
            figures: if roles.api { None } else { read_figures(reader) },
            confined: Confined::read(reader),
        }
    }

    /// Begins to log and to count, as configured.
    pub(crate) fn see(&self) -> jobs::Result<()> {
        jobs::trace::init(&self.log)?;
        jobs::metrics::install()
    }

    /// Takes the API's address, or that of the figures where there is no API, before anything that would have to be stopped again.
    ///
    /// # Errors
    /// Conflict when another process has the port.
    pub(crate) async fn bind(&self) -> jobs::Result<Option<TcpListener>> {
        match (&self.api, self.figures) {
            (Some(api), _) => listen(api.bind, API_AT).await.map(Some),
            (None, Some(figures)) => listen(figures, FIGURES_AT).await.map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn read_keyring(reader: &mut Reader<'_>) -> Option<Arc<Keyring>> {
    reader.required(KEYRING_VARIABLE, "to seal and open secrets, as `id:base64` of 64 random bytes; `echo \"k1:$(openssl rand -base64 64 | tr -d '\\n')\"` makes one");
    find_keyring(reader).map(Arc::new)
}

/// Reads the keyring, if there is one here.
pub(crate) fn find_keyring(reader: &mut Reader<'_>) -> Option<Keyring> {
    let text = reader.text(KEYRING_VARIABLE)?;
    match Keyring::parse(&text) {
        Ok(keyring) => Some(keyring),
        Err(faults) => {
            reader.fault(format!("`{KEYRING_VARIABLE}`: {faults}"));
            None
        }
    }
}

fn read_figures(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let text = reader.text("METRICS_BIND")?;
    let address = text.parse().ok();
    if address.is_none() {
        reader.fault(format!("`METRICS_BIND` is `{text}`; write an address and a port, as 127.0.0.1:9464"));
    }
    address
}

/// `by` names the settings that chose the port and the whole address, for who must choose others.
async fn listen(address: SocketAddr, (by_port, by): (&str, &str)) -> jobs::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        let message = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "port {port} is taken on `{}`; choose another with {by_port}, or stop what listens there \
                 (`ss -ltnp 'sport = :{port}'` names it)",
                address.ip()
            ),
            std::io::ErrorKind::PermissionDenied => {
                format!("port {port} is for root alone; choose one above 1023 with {by_port}")
            }
            _ => format!("`{address}` cannot be listened on: {error}; check {by}"),
        };
        Error::new(Code::Conflict, message).because(error)
    })
}

/// `millrace api`, `worker` and `scheduler`: the roles on a database that is ready for them.
pub(crate) async fn run(roles: &Roles) -> anyhow::Result<()> {
    let settings = Settings::find()?;
    let config = settings.read(|reader| Config::read(reader, roles))?;
    config.see()?;
    let shutdown = jobs::shutdown::on_signal().context("signals cannot be handled")?;
    let listener = config.bind().await?;
    let db = jobs::db::connect(&config.database).await?;
    match jobs::db::schema_state(&db).await? {
        SchemaState::Current => {}
        // In the middle of a deployment.
        SchemaState::Expanded(version) => {
            tracing::warn!(version, "the schema is of a newer executable, and suits this one as well");
        }
        SchemaState::Behind(missing) => {
            return Err(Error::conflict(format!(
                "the database lacks {missing} migration(s) that this executable needs; run `millrace migrate` first"
            ))
            .into());
        }
        // Refuses with the reason, and changes nothing.
        SchemaState::Ahead(_) => jobs::db::migrate(&db).await?,
    }
    if let Some(keyring) = &config.keyring {
        secrets::prove(&db, keyring).await?;
    }
    if let Some(listener) = &listener {
        tracing::info!(address = %listener.local_addr()?, "listening");
    }
    play(config, listener, db, shutdown).await
}

/// Plays the roles until the shutdown, or until one of them cannot go on, which ends the others.
pub(crate) async fn play(
    config: Config,
    listener: Option<TcpListener>,
    db: PgPool,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // What drains after the signal still makes work for others.
    let ended = CancellationToken::new();
    let serves = config.api.is_some();
    let works = config.worker.is_some() || config.scheduler.is_some();
    let pools = config.confined.pools(&config.database, db, serves, works, &shutdown).await?;
    let wake = Wake::start(pools.any(), &ended);
    // One for the whole process: what the API compiled when it was saved, a worker need not compile again.
    let sandbox = Arc::new(Sandbox::new(script::Limits::default()));
    let mut playing: JoinSet<anyhow::Result<()>> = JoinSet::new();
    match (config.api, listener, &config.keyring) {
        (Some(api), Some(listener), Some(keyring)) => {
            let app = api::App::new(
                pools.api.clone(),
                wake.clone(),
                Arc::clone(&sandbox),
                Arc::clone(keyring),
                api,
            );
            if let Some(db) = pools.beside_the_api() {
                app.show_beside(db.clone());
            }
            let shutdown = shutdown.clone();
            playing.spawn(async move { Ok(api::serve(listener, app, shutdown).await?) });
        }
        (None, Some(listener), _) => {
            let (db, shutdown) = (pools.any().clone(), shutdown.clone());
            playing.spawn(async move { Ok(api::serve_figures(listener, db, shutdown).await?) });
        }
        (Some(_), Some(_), None) | (_, None, _) => {}
    }
    if let Some(worker) = config.worker {
        let hosts = config.hosts.into_iter().map(HostSettings::open).collect();
        let worker = WorkerConfig { hosts, ..worker };
        let context = workers::Context { sandbox, ..workers::Context::new(pools.work.clone(), wake.clone()) };
        let shutdown = shutdown.clone();
        playing.spawn(async move { Ok(workers::run(worker, context, shutdown).await?) });
    }
    if let Some(scheduler) = config.scheduler {
        let (db, shutdown) = (pools.work.clone(), shutdown.clone());
        playing.spawn(async move { Ok(scheduler::run(db, scheduler, shutdown).await?) });
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
    ended.cancel();
    wake.flush().await;
    pools.close().await;
    first
}
