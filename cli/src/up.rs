//! `millrace up`: everything in one process, on a private cluster unless a database is named.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use jobs::db::private::{Cluster, Options, UpLock};
use rules::queue::Pool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::home::{self, Home};
use crate::hypervisor::{self, Served};
use crate::roles::{self, Config, Roles};
use crate::secrets::Secrets;
use crate::settings::{self, Settings};
use crate::table::say;

/// How often `up` looks whether its Postgres still runs.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Starts everything, and stops everything at the first signal.
pub(crate) async fn run() -> anyhow::Result<()> {
    let home = Home::find()?;
    let private = !settings::is_set("DATABASE_URL");
    // Everything that can be refused is refused before anything is started, and what is wrong with the
    // settings even while another `up` holds the lock.
    Plan::read(&home, private)?;
    home.prepare()?;
    // Two processes on one database are fine; two on one folder are not, whose secrets and address are one's.
    let lock = UpLock::take(&home.place)?;
    // Once more: who held the lock until now may have kept secrets.
    let plan = Plan::read(&home, private)?;
    plan.config.see()?;
    if !hypervisor::is_built_in() {
        say(format!("built without libvirt: there is no host `{}`; machines need one", hypervisor::LOCAL));
    }
    let shutdown = jobs::shutdown::on_signal().context("signals cannot be handled")?;
    let listener = plan.config.bind().await?;

    let cluster = if private { Some(open(&home).await?) } else { None };
    let watching = cluster.clone().map(|cluster| tokio::spawn(watch(cluster, shutdown.clone())));
    let played = play(&home, plan, listener, shutdown.clone()).await;
    shutdown.cancel();
    if let Some(watching) = watching {
        watching.await.context("the watch over Postgres panicked")?;
    }
    // The cluster ends after all that used it, whatever that came to.
    if let Some(cluster) = cluster {
        cluster.stop().await?;
        say(format!("stopped; the data stays in `{}`", home.place.home().display()));
    }
    drop(lock);
    played
}

/// All that is decided before anything is started.
struct Plan {
    config: Config,
    admin_email: String,
    secrets: Secrets,
}

impl Plan {
    /// Reads the environment, and behind it what was generated and where the private cluster will be.
    fn read(home: &Home, private: bool) -> anyhow::Result<Self> {
        let secrets = Secrets::find(home)?;
        let mut settings = Settings::default();
        secrets.provide(&mut settings);
        if private {
            settings.provide("DATABASE_URL", Cluster::url_at(&home.place));
        }
        let hosts = local_host()?;
        let roles = Roles { api: true, pools: Pool::FIXED.to_vec(), hosts, scheduler: true };
        let (config, admin_email) =
            settings.read(|reader| (Config::read(reader, &roles), admin::read_email(reader)))?;
        Ok(Self { config, admin_email, secrets })
    }
}

/// The host `local`, on libvirt's driver inside this process, which keeps its machines as long as it runs.
fn local_host() -> anyhow::Result<Vec<Served>> {
    if !hypervisor::is_built_in() {
        return Ok(Vec::new());
    }
    Ok(vec![Served { name: hypervisor::LOCAL.parse()?, uri: hypervisor::LOCAL_URI.parse()? }])
}

async fn open(home: &Home) -> jobs::Result<Cluster> {
    let cluster = Cluster::open(&home.place, &home.account, &Options::durable()).await?;
    let how = if cluster.adopted() { "found running, from an `up` that was killed" } else { "started" };
    say(format!(
        "Postgres {} {how}; its data is in `{}`",
        cluster.binaries().major,
        home.place.home().display()
    ));
    Ok(cluster)
}

/// Starts Postgres again when it dies under us: killed for want of memory, or by hand. Until it answers
/// all roles wait and try again, so nothing but time is lost.
async fn watch(cluster: Cluster, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(WATCH_EVERY)).await.is_some() {
        if cluster.pid().is_some() {
            continue;
        }
        tracing::error!("postgres has died; starting it again");
        match cluster.restart(&Options::durable()).await {
            Ok(()) => tracing::info!("postgres runs again"),
            Err(error) => tracing::error!(%error, "postgres could not be started; trying again"),
        }
    }
}

async fn play(
    home: &Home,
    plan: Plan,
    listener: Option<TcpListener>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Plan { config, admin_email, secrets } = plan;
    let db = jobs::db::connect(&config.database).await?;
    jobs::db::migrate(&db).await?;
    if let Some(keyring) = &config.keyring {
        secrets.settle(home, &db, keyring).await?;
    }
    admin::first(home, &db, &admin_email).await?;
    if let Some(listener) = &listener {
        let address = listener.local_addr()?;
        home::write_secret(&home.address_file(), &format!("{address}\n"))?;
        tell(address);
    }
    roles::play(config, listener, db, shutdown).await
}

/// Says where it listens, once all that can fail at a start has not.
fn tell(address: SocketAddr) {
    say(format!(
        "millrace is up on http://{address}\n  \
         GraphQL   http://{address}/graphql\n  \
         webhooks  http://{address}/hooks/{{tenant}}/{{path}}\n  \
         probes    http://{address}/livez /readyz /metrics\n  \
         ctrl-c finishes what is in progress and stops"
    ));
}
