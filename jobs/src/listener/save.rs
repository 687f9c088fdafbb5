//! Makes and changes listeners: reads the pipeline, compiles its script, looks its workflows up, seals.

use std::time::Duration;

use rand::random;
use rules::access::Title;
use rules::id::{ListenerId, TenantId};
use rules::listener::{Fault, Outside, Path, Pipeline};
use rules::seal::{Keyring, Place};
use rules::signature::Secret;
use script::{Sandbox, ScriptError};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Listener};
use crate::workflow::store as workflows;
use crate::{Code, Error};

/// A listener that is to be made.
#[derive(Debug)]
pub struct NewListener<'a> {
    /// Where it listens, below its tenant.
    pub path: &'a Path,
    /// Its name for people.
    pub title: &'a Title,
    /// The configuration of its pipeline.
    pub pipeline: &'a serde_json::Value,
}

/// Why a listener was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Its pipeline is wrong: everything that is.
    #[error("the pipeline has {} fault(s): {}", .0.len(), told(.0))]
    Faults(Vec<Fault>),
    /// Anything else.
    #[error(transparent)]
    House(#[from] Error),
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(|f| format!("`{}` {}", f.field, f.message)).collect::<Vec<_>>().join("; ")
}

impl From<SaveError> for Error {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Faults(_) => Self::invalid(error.to_string()),
            SaveError::House(error) => error,
        }
    }
}

/// Where a listener's sealed secret stands.
pub(super) const fn place(tenant: TenantId, id: ListenerId) -> Place<'static> {
    Place { tenant: Some(tenant), table: "listener", column: "secret", row: id.0 }
}

/// Makes a listener, active at once, with a fresh secret: it is told here and never again.
///
/// # Errors
/// All faults of the pipeline at once; Conflict when the tenant has a listener at this path.
pub async fn create(
    conn: &mut PgConnection,
    keyring: &Keyring,
    sandbox: &Sandbox,
    tenant: TenantId,
    new: &NewListener<'_>,
) -> Result<(Listener, SecretString), SaveError> {
    let pipeline = checked(conn, sandbox, tenant, new.pipeline, None).await?;
    let id = ListenerId(Uuid::now_v7());
    let (secret, sealed) = fresh_secret(keyring, tenant, id);
    let listener = store::insert(conn, id, tenant, new.path, new.title, &sealed, &pipeline.to_json()).await?;
    Ok((listener, secret))
}

/// Gives a listener another pipeline. Actions that stay at their place keep their ids.
///
/// # Errors
/// All faults of the pipeline at once; NotFound when the tenant has no such listener; Conflict when it is
/// not at `version` any more.
pub async fn update_pipeline(
    conn: &mut PgConnection,
    sandbox: &Sandbox,
    tenant: TenantId,
    id: ListenerId,
    version: i32,
    config: &serde_json::Value,
) -> Result<Listener, SaveError> {
    let before = store::get(conn, tenant, id).await?.pipeline()?;
    let pipeline = checked(conn, sandbox, tenant, config, Some(&before)).await?;
    Ok(store::set_pipeline(conn, tenant, id, version, &pipeline.to_json()).await?)
}

/// How long a secret is accepted after it was renewed, unless the renewal says otherwise: senders are
/// given the new one by people.
pub const SECRET_GRACE: Duration = Duration::from_hours(24);
/// The longest that it may be accepted: who needs more has not renewed it.
pub const SECRET_GRACE_MAX: Duration = Duration::from_hours(24 * 7);

/// Gives a listener a fresh secret. The one before is accepted for `grace` more; one before that ends.
///
/// # Errors
/// Invalid when the grace is longer than [`SECRET_GRACE_MAX`], NotFound when the tenant has no such
/// listener.
pub async fn rotate_secret(
    conn: &mut PgConnection,
    keyring: &Keyring,
    tenant: TenantId,
    id: ListenerId,
    grace: Duration,
) -> Result<(Listener, SecretString), Error> {
    if grace > SECRET_GRACE_MAX {
        let most = SECRET_GRACE_MAX.as_secs() / 3600;
        return Err(Error::invalid(format!("the old secret can be kept for at most {most} hours; say less")));
    }
    let (secret, sealed) = fresh_secret(keyring, tenant, id);
    let listener = store::set_secret(conn, tenant, id, &sealed, grace).await?;
    Ok((listener, secret))
}

fn fresh_secret(keyring: &Keyring, tenant: TenantId, id: ListenerId) -> (SecretString, Vec<u8>) {
    let secret = Secret::encode(&random());
    let sealed = keyring.seal(&place(tenant, id), random(), secret.expose_secret().as_bytes());
    (secret, sealed)
}

/// What is wrong with the configuration of a pipeline; nothing, where it could be saved.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn faults(
    conn: &mut PgConnection,
    sandbox: &Sandbox,
    tenant: TenantId,
    config: &serde_json::Value,
) -> Result<Vec<Fault>, Error> {
    match checked(conn, sandbox, tenant, config, None).await {
        Ok(_) => Ok(Vec::new()),
        Err(SaveError::Faults(faults)) => Ok(faults),
        Err(SaveError::House(error)) => Err(error),
    }
}

async fn checked(
    conn: &mut PgConnection,
    sandbox: &Sandbox,
    tenant: TenantId,
    config: &serde_json::Value,
    before: Option<&Pipeline>,
) -> Result<Pipeline, SaveError> {
    let parsed = Pipeline::parse(config, before, Uuid::now_v7);
    let mut faults = Vec::new();
    for (field, outside) in Pipeline::outside(config) {
        let fault = match outside {
            // Compiling is bounded by the length of a source, to milliseconds, so it needs no other thread.
            Outside::Script(code) => sandbox.check(code).err().map(|error| explain(&error)),
            Outside::Workflow(workflow) => match workflows::get(conn, workflow, tenant).await {
                Ok(_) => None,
                Err(error) if error.code == Code::NotFound => Some(error.to_string()),
                Err(error) => return Err(error.into()),
            },
        };
        faults.extend(fault.map(|message| Fault { field, message }));
    }
    match parsed {
        Ok(pipeline) if faults.is_empty() => Ok(pipeline),
        Ok(_) => Err(SaveError::Faults(faults)),
        Err(structural) => Err(SaveError::Faults(structural.into_iter().chain(faults).collect())),
    }
}

fn explain(error: &ScriptError) -> String {
    match error {
        ScriptError::Compile { hint: Some(hint), .. } => format!("{error}; {hint}"),
        other => other.to_string(),
    }
}
