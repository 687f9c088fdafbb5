//! `millrace up`: everything in one process, on a private cluster unless a database is named.

use anyhow::Context as _;
use jobs::db::private::{Cluster, Options, UpLock};
use rand::RngExt;
use rules::queue::Pool;
use rules::seal::{KEY_BYTES, Keyring};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::home::{self, Home};
use crate::roles::{self, Config, Roles};
use crate::settings::{self, Settings};

/// The variable with the keys that seal secrets at rest.
pub(crate) const KEYRING_VARIABLE: &str = "MILLRACE_KEYRING";
/// The variable with the secret that signs tokens.
pub(crate) const JWT_VARIABLE: &str = "MILLRACE_JWT_SECRET";

/// Starts everything, and stops everything at the first signal.
pub(crate) async fn run() -> anyhow::Result<()> {
    let home = Home::find()?;
    home.prepare()?;
    // Two processes on one database are fine; two on one data directory are not.
    let private = !settings::is_set("DATABASE_URL");
    let lock = private.then(|| UpLock::take(&home.place)).transpose()?;
    generate_secrets(&home)?;
    let mut settings = Settings::default();
    for (name, value) in home.secrets()? {
        settings.provide(&name, value);
    }
    let roles = Roles { pools: Pool::ALL.to_vec() };
    let shutdown = jobs::shutdown::on_signal().context("signals cannot be handled")?;
    let cluster = if private {
        // Checked before anything is started; the true address is known only after.
        settings.provide("DATABASE_URL", home.place.url("millrace", "millrace"));
        settings.read(|reader| Config::read(reader, &roles))?;
        Some(open(&home).await?)
    } else {
        None
    };
    let config = settings.read(|reader| Config::read(reader, &roles))?;
    let played = play(config, shutdown).await;
    // The cluster ends after all that used it, whatever that came to.
    if let Some(cluster) = cluster {
        cluster.stop().await?;
        println!("stopped; the data stays in `{}`", home.place.home().display());
    }
    drop(lock);
    played
}

async fn open(home: &Home) -> jobs::Result<Cluster> {
    let cluster = Cluster::open(&home.place, &home.account, &Options::durable()).await?;
    let how = if cluster.adopted() { "found running, from an `up` that was killed" } else { "started" };
    println!("Postgres {} {how}, data in `{}`", cluster.binaries().major, home.place.home().display());
    Ok(cluster)
}

async fn play(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let db = jobs::db::connect(&config.database).await?;
    jobs::db::migrate(&db).await?;
    roles::play(config, db, shutdown).await
}

/// Makes the secrets that the environment does not give, once; later starts find them in the file.
fn generate_secrets(home: &Home) -> jobs::Result<()> {
    let mut secrets = home.secrets()?;
    let before = secrets.len();
    let mut random = rand::rng();
    if !settings::is_set(KEYRING_VARIABLE) && !secrets.contains_key(KEYRING_VARIABLE) {
        let key: [u8; KEY_BYTES] = random.random();
        secrets.insert(KEYRING_VARIABLE.into(), Keyring::text_of("k1", &key).expose_secret().to_owned());
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
