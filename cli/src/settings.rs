//! Looks settings up: the environment first, then what belongs to this clone.

use std::collections::BTreeMap;

use jobs::config::{DatabaseConfig, Faults, Reader};
use jobs::db::wall::DbRole;
use jobs::db::{PgPool, SchemaState};

use crate::home::Home;

/// Connections of an operator's command, which runs one statement after the other.
const OPERATOR_CONNECTIONS: u32 = 2;

/// Where each setting comes from.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Stand in for variables that are not set.
    fallback: BTreeMap<String, String>,
}

impl Settings {
    /// The environment, and behind it the secrets and the running cluster of this clone.
    pub(crate) fn find() -> jobs::Result<Self> {
        if is_set("DATABASE_URL") && !Home::find().is_ok_and(|home| home.secrets_file().exists()) {
            return Ok(Self::default());
        }
        let home = Home::find()?;
        let mut fallback = home.secrets()?;
        if !is_set("DATABASE_URL")
            && let Some(cluster) = home.cluster()?
        {
            fallback.insert("DATABASE_URL".into(), cluster.url());
        }
        Ok(Self { fallback })
    }

    /// Adds a value that stands in for a variable that is not set.
    pub(crate) fn provide(&mut self, name: &str, value: String) {
        self.fallback.insert(name.to_owned(), value);
    }

    /// The value of a setting.
    pub(crate) fn look_up(&self, name: &str) -> Option<String> {
        std::env::var(name)
            .ok()
            .filter(|value| !value.trim().is_empty())
            .or_else(|| self.fallback.get(name).cloned())
    }

    /// Reads a whole configuration, with all of its faults at once.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> T) -> Result<T, Faults> {
        let look_up = |name: &str| self.look_up(name);
        let mut reader = Reader::new(&look_up);
        let value = read(&mut reader);
        reader.finish().map(|()| value)
    }
}

/// Whether a variable is set to something.
pub(crate) fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.trim().is_empty())
}

/// Connects an operator's command to the database whose schema it knows: as the workers' role, where it can be
/// had, for a command has no use for the rights of an owner either.
pub(crate) async fn operator() -> anyhow::Result<PgPool> {
    let config = DatabaseConfig { connections: OPERATOR_CONNECTIONS, ..database(DatabaseConfig::read)? };
    let db = jobs::db::connect(&config).await?;
    match jobs::db::schema_state(&db).await? {
        SchemaState::Current | SchemaState::Expanded(_) => Ok(jobs::db::connect_as(&config, &db, DbRole::Worker).await?.unwrap_or(db)),
        SchemaState::Behind(missing) => Err(jobs::Error::conflict(format!(
            "the database lacks {missing} migration(s) that this executable needs; run `millrace migrate`"
        ))
        .into()),
        SchemaState::Ahead(version) => Err(jobs::Error::conflict(format!(
            "the database has migration `{version}`, which this executable does not know; use the newer executable"
        ))
        .into()),
    }
}

/// Connects to the database that the settings name.
pub(crate) async fn connect(connections: u32) -> anyhow::Result<PgPool> {
    let config = database(DatabaseConfig::read)?;
    Ok(jobs::db::connect(&DatabaseConfig { connections, ..config }).await?)
}

/// Reads what an operator's command needs, once it is known that there is a database.
pub(crate) fn database<T>(read: impl FnOnce(&mut Reader<'_>) -> T) -> anyhow::Result<T> {
    let settings = Settings::find()?;
    if settings.look_up("DATABASE_URL").is_none() {
        let home = Home::find()?;
        return Err(Faults(vec![format!(
            "no database: `DATABASE_URL` is not set and no private cluster runs in `{}`; start one with `make up`, \
             call this in the clone where it runs, or set `DATABASE_URL`",
            home.place.home().display()
        )])
        .into());
    }
    Ok(settings.read(read)?)
}
