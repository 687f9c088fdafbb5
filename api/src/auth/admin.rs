//! Makes the first administrator, and lets one in again who lost the password.

use jobs::db::PgPool;
use jobs::{Error, Result};
use rules::access::{Email, Role};
use rules::id::UserId;
use secrecy::SecretString;

use super::{Passwords, check_strength, release, store};

/// What [`bootstrap_admin`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrapped {
    /// The administrator was made with the given password.
    Made,
    /// There is one already, with this address; nothing was changed.
    Existing(String),
}

/// Makes the first super administrator, unless there is one.
///
/// # Errors
/// Invalid for a bad address or password; Conflict when an ordinary user has the address.
pub async fn bootstrap_admin(db: &PgPool, email: &str, password: SecretString) -> Result<Bootstrapped> {
    let mut conn = db.acquire().await?;
    if let Some((_, email)) = store::first_super_admin(&mut conn).await? {
        return Ok(Bootstrapped::Existing(email));
    }
    let email: Email = email.parse().map_err(|e| Error::invalid(format!("{e}")))?;
    let hash = hashed(password).await?;
    match jobs::access::store::insert_user(&mut conn, &email, &hash, Role::SuperAdmin).await {
        Ok(_) => Ok(Bootstrapped::Made),
        // Another process was first between the look and the insert.
        Err(error) if error.code == jobs::Code::Conflict => {
            match store::first_super_admin(&mut conn).await? {
                Some((_, email)) => Ok(Bootstrapped::Existing(email)),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Gives a super administrator a new password, ends their sessions, and lets them in again if they were
/// shut out. Without an address it is the first of them. `by` is who does it, as the
/// audit names them. Returns the address.
///
/// # Errors
/// NotFound when there is no such user, Denied when they are no super administrator, Invalid for a bad
/// password.
pub async fn reset_admin_password(
    db: &PgPool,
    email: Option<&str>,
    password: SecretString,
    by: &str,
) -> Result<String> {
    let hash = hashed(password).await?;
    let mut tx = jobs::db::begin(db).await?;
    let (id, email) = match email {
        Some(text) => {
            let email: Email = text.parse().map_err(|e| Error::invalid(format!("{e}")))?;
            let user = jobs::access::store::user_by_email(&mut tx, &email).await?;
            if user.role != Role::SuperAdmin.as_str() {
                return Err(Error::denied(format!(
                    "`{email}` is no super administrator, and is not made one by this"
                )));
            }
            (user.id, user.email)
        }
        None => store::first_super_admin(&mut tx).await?.ok_or_else(|| {
            Error::not_found(
                "there is no administrator; the first start of `millrace up` makes one, or `setUp` with `SETUP_TOKEN`",
            )
        })?,
    };
    jobs::access::store::set_password(&mut tx, UserId(id), &hash).await?;
    jobs::access::store::set_user_disabled(&mut tx, UserId(id), false).await?;
    // Too many wrong logins shut out the right one as well: the new password is to let them in at once.
    let locked: Email =
        email.parse().map_err(|e| Error::internal(format!("`{email}` does not read back: {e}")))?;
    release(&mut tx, &locked).await?;
    let told = jobs::audit::Note {
        actor: by,
        operation: "cli.admin.resetPassword",
        arguments: &serde_json::json!({ "email": email }).to_string(),
        took_ms: 0,
        address: None,
        request_id: None,
    };
    jobs::audit::note(&mut tx, &told).await?;
    tx.commit().await?;
    Ok(email)
}

/// The hash of a password that is strong enough, made apart from those of requests.
///
/// # Errors
/// Invalid for a weak one.
pub(crate) async fn hashed(password: SecretString) -> Result<String> {
    use secrecy::ExposeSecret;
    check_strength(password.expose_secret()).map_err(|fault| Error::invalid(fault.to_string()))?;
    Passwords::new(1).hash(password).await
}
