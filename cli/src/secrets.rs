//! The secrets that the first `up` makes: drawn in memory, kept once the database is known to want them.

use std::collections::BTreeMap;
use std::path::Path;

use jobs::config::Faults;
use jobs::db::PgPool;
use jobs::seal::{self, Proof};
use rand::RngExt;
use rules::seal::{KEY_BYTES, Keyring, OpenError};
use secrecy::ExposeSecret;

use crate::home::{self, Home};
use crate::roles::KEYRING_VARIABLE;
use crate::settings::{self, Settings};

/// The variable with the secret that signs tokens.
const JWT_VARIABLE: &str = "JWT_SECRET";

/// The secrets of one home.
pub(crate) struct Secrets {
    /// Those of the file.
    kept: BTreeMap<String, String>,
    /// Those that neither the environment nor the file has.
    drawn: BTreeMap<String, String>,
}

impl Secrets {
    /// Reads what is kept, and draws what is missing. Writes nothing.
    pub(crate) fn find(home: &Home) -> jobs::Result<Self> {
        let kept = home.secrets()?;
        let mut drawn = BTreeMap::new();
        let mut random = rand::rng();
        let missing = |name: &str| !settings::is_set(name) && !kept.contains_key(name);
        if missing(KEYRING_VARIABLE) {
            // An id of its own, so that a value names the key it needs and not one that is merely called so.
            let id = format!("k{:08x}", random.random::<u32>());
            let key: [u8; KEY_BYTES] = random.random();
            drawn.insert(KEYRING_VARIABLE.into(), Keyring::text_of(&id, &key).expose_secret().to_owned());
        }
        if missing(JWT_VARIABLE) {
            let secret: [u8; 32] = random.random();
            let text = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            drawn.insert(JWT_VARIABLE.into(), text);
        }
        Ok(Self { kept, drawn })
    }

    /// Lets them stand in for variables that are not set.
    pub(crate) fn provide(&self, settings: &mut Settings) {
        for (name, value) in self.kept.iter().chain(&self.drawn) {
            settings.provide(name, value.clone());
        }
    }

    /// Proves the keyring on the database, and keeps what was drawn. A keyring that was just drawn must be
    /// the first that the database sees.
    ///
    /// # Errors
    /// [`Faults`] when another keyring sealed what is there; nothing is written then.
    pub(crate) async fn settle(&self, home: &Home, db: &PgPool, keyring: &Keyring) -> anyhow::Result<()> {
        if !self.drawn.contains_key(KEYRING_VARIABLE) {
            prove(db, keyring).await?;
            return Ok(self.keep(home)?);
        }
        let mut tx = jobs::db::begin(db).await?;
        let is_first =
            !seal::store::is_anything_sealed(&mut tx).await? && seal::keep(&mut tx, keyring).await?;
        if !is_first {
            return Err(Faults(vec![format!(
                "`{KEYRING_VARIABLE}` is not set and `{}` holds none, but the database holds what another keyring \
                 sealed; {}. None is made anew, for nothing that is sealed could be read with it",
                home.secrets_file().display(),
                remedy(&home.secrets_file())
            )])
            .into());
        }
        // Kept before it counts: a keyring that sealed and was lost with the process would lose all.
        self.keep(home)?;
        tx.commit().await.map_err(jobs::Error::from)?;
        Ok(())
    }

    fn keep(&self, home: &Home) -> jobs::Result<()> {
        if self.drawn.is_empty() {
            return Ok(());
        }
        let all = self.kept.iter().chain(&self.drawn);
        let lines: String = all.map(|(name, value)| format!("{name}={value}\n")).collect();
        let text = format!(
            "# Made by `millrace up`. Without these, what is sealed in the database cannot be read again.\n{lines}"
        );
        home::write_secret(&home.secrets_file(), &text)
    }
}

/// Proves that the keyring opens what this installation sealed, before anybody is let in who needs it.
///
/// # Errors
/// [`Faults`] when it does not.
pub(crate) async fn prove(db: &PgPool, keyring: &Keyring) -> anyhow::Result<()> {
    let mut tx = jobs::db::begin(db).await?;
    let proof = seal::prove(&mut tx, keyring).await?;
    let reason = match proof {
        Proof::Opens | Proof::Missing => {
            tx.commit().await.map_err(jobs::Error::from)?;
            return Ok(());
        }
        Proof::Fails(OpenError::UnknownKey(id)) => format!("lacks key `{id}`"),
        Proof::Fails(OpenError::Refused) => "has another key of the same id than the one".to_owned(),
    };
    let remedy = remedy(&Home::find()?.secrets_file());
    Err(Faults(vec![format!(
        "`{KEYRING_VARIABLE}` {reason} under which this database's secrets are sealed; {remedy}"
    )])
    .into())
}

fn remedy(file: &Path) -> String {
    // Where `up` never ran there is nothing to restore.
    let restore = if file.parent().is_some_and(Path::exists) {
        format!("restore `{}` from its backup, ", file.display())
    } else {
        String::new()
    };
    format!(
        "{restore}copy the file `secrets` of the first `up`, or set `{KEYRING_VARIABLE}` to \
         what the other processes have"
    )
}
