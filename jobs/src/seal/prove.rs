//! Opens the value that was sealed when the installation began, or seals it.

use rand::random;
use rules::seal::{Keyring, OpenError, Place};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::Result;

/// Where the sealed value stands: the installation's own, in the only row of its table.
const PLACE: Place<'static> =
    Place { tenant: None, table: "keyring_proof", column: "sealed", row: Uuid::nil() };

/// What is sealed. It is no secret; that it opens is all it says.
const KNOWN: &[u8] = b"this keyring is the one";

/// What the keyring's proof came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The value opens: what this installation sealed can be read.
    Opens,
    /// There is none yet.
    Missing,
    /// It does not open: the keyring is another installation's, or lacks a key.
    Fails(OpenError),
}

/// Tries the keyring, and changes nothing.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn tried(conn: &mut PgConnection, keyring: &Keyring) -> Result<Proof> {
    Ok(store::get(conn).await?.map_or(Proof::Missing, |sealed| open(keyring, &sealed)))
}

/// Seals the value under this keyring if there is none. False when there is one, sealed by whomever.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn keep(conn: &mut PgConnection, keyring: &Keyring) -> Result<bool> {
    store::insert(conn, &seal(keyring)).await
}

/// Tries the keyring before secrets are opened with it. The value is sealed here where there is none yet,
/// and sealed anew where another key has become the active one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn prove(conn: &mut PgConnection, keyring: &Keyring) -> Result<Proof> {
    keep(conn, keyring).await?;
    let Some(sealed) = store::get(conn).await? else { return Ok(Proof::Missing) };
    let proof = open(keyring, &sealed);
    if proof == Proof::Opens && !keyring.is_current(&sealed) {
        store::replace(conn, &sealed, &seal(keyring)).await?;
    }
    Ok(proof)
}

fn seal(keyring: &Keyring) -> Vec<u8> {
    keyring.seal(&PLACE, random(), KNOWN)
}

fn open(keyring: &Keyring, sealed: &[u8]) -> Proof {
    match keyring.open(&PLACE, sealed) {
        Ok(_) => Proof::Opens,
        Err(error) => Proof::Fails(error),
    }
}
