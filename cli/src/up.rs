//! `millrace up`: everything in one process, on a private cluster unless a database is named.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use jobs::db::private::{Cluster, Options, UpLock};
use rand::RngExt;
use rules::queue::Pool;
use rules::seal::{KEY_BYTES, Keyring};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::home::{self, Home};
use crate::roles::{self, Config, KEYRING_VARIABLE, Roles};
use crate::settings::{self, Settings};

/// The variable with the secret that signs tokens.
const JWT_VARIABLE: &str = "JWT_SECRET";

/// The key id of a generated keyring.
const FIRST_KEY_ID: &str = "k1";

/// How often `up` looks whether its Postgres still runs.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Starts everything, and stops everything at the first signal.
pub(crate) async fn run() -> anyhow::Result<()> {
    let home = Home::find()?;
    home.prepare()?;
    // Two processes on one database are fine; two on one data directory are not.
    let private = !settings::is_set("DATABASE_URL");
    let lock = private.then(|| UpLock::take(&home.place)).transpose()?;
    generate_secrets(&home)?;

    // Everything that can be refused is refused before anything is started.
    let roles = Roles { api: true, pools: Pool::FIXED.to_vec(), scheduler: true };
    let config = settings(&home, private)?.read(|reader| Config::read(reader, &roles))?;
    config.see()?;
    let shutdown = jobs::shutdown::on_signal().context("signals cannot be handled")?;
    let listener = config.bind().await?;

    let cluster = if private { Some(open(&home).await?) } else { None };
    let watching = cluster.clone().map(|cluster| tokio::spawn(watch(cluster, shutdown.clone())));
    let played = play(&home, config, listener, shutdown.clone()).await;
    shutdown.cancel();
    if let Some(watching) = watching {
        watching.await.context("the watch over Postgres panicked")?;
    }
    // The cluster ends after all that used it, whatever that came to.
    if let Some(cluster) = cluster {
        cluster.stop().await?;
        println!("stopped; the data stays in `{}`", home.place.home().display());
    }
    drop(lock);
    played
}

/// The environment, and behind it what was generated and where the private cluster will be.
fn settings(home: &Home, private: bool) -> jobs::Result<Settings> {
    let mut settings = Settings::default();
    for (name, value) in home.secrets()? {
        settings.provide(&name, value);
    }
    if private {
        settings.provide("DATABASE_URL", Cluster::url_at(&home.place));
    }
    Ok(settings)
}

async fn open(home: &Home) -> jobs::Result<Cluster> {
    let cluster = Cluster::open(&home.place, &home.account, &Options::durable()).await?;
    let how = if cluster.adopted() { "found running, from an `up` that was killed" } else { "started" };
    println!("Postgres {} {how}; its data is in `{}`", cluster.binaries().major, home.place.home().display());
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
    config: Config,
    listener: Option<TcpListener>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let db = jobs::db::connect(&config.database).await?;
    jobs::db::migrate(&db).await?;
    admin::first(home, &db).await?;
    if let Some(listener) = &listener {
        let address = listener.local_addr()?;
        home::write_secret(&home.address_file(), &format!("{address}\n"))?;
        tell(address);
    }
    roles::play(config, listener, db, shutdown).await
}

/// Says where it listens, once all that can fail at a start has not.
fn tell(address: SocketAddr) {
    println!(
        "millrace is up on http://{address}\n  \
         GraphQL   http://{address}/graphql\n  \
         webhooks  http://{address}/hooks/{{tenant}}/{{path}}\n  \
         probes    http://{address}/livez /readyz /metrics\n  \
         ctrl-c finishes what is in progress and stops"
    );
}

/// Makes the secrets that the environment does not give, once; later starts find them in the file.
fn generate_secrets(home: &Home) -> jobs::Result<()> {
    let mut secrets = home.secrets()?;
    let before = secrets.len();
    let mut random = rand::rng();
    if !settings::is_set(KEYRING_VARIABLE) && !secrets.contains_key(KEYRING_VARIABLE) {
        let key: [u8; KEY_BYTES] = random.random();
        let text = Keyring::text_of(FIRST_KEY_ID, &key);
        secrets.insert(KEYRING_VARIABLE.into(), text.expose_secret().to_owned());
    }
    if !settings::is_set(JWT_VARIABLE) && !secrets.contains_key(JWT_VARIABLE) {
        let secret: [u8; 32] = random.random();
        secrets.insert(JWT_VARIABLE.into(), secret.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    if secrets.len() == before {
        return Ok(());
    }
    let lines: Vec<String> = secrets.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let text = format!(
        "# Made by `millrace up`. Without these, what is sealed in the database cannot be read again.\n{}",
        lines.concat()
    );
    home::write_secret(&home.secrets_file(), &text)
}
