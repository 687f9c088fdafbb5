//! Hashes and checks passwords, a few at a time and off the runtime's threads.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use jobs::{Code, Error};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::error::Fault;

/// The shortest password, in characters.
const MIN_PASSWORD_CHARS: usize = 10;

/// The longest, in bytes: hashing must not be made long by length.
const MAX_PASSWORD_BYTES: usize = 256;

/// How long a login waits for its turn to be hashed.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory of one hash in KiB, passes, and lanes: the second choice of OWASP's list for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The hash of no password, with the cost of a true one: an unknown address takes as long as a known one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes passwords, at most so many at once.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Passwords {
    /// At most `at_once` hashes side by side; at least one.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// The hash to store.
    ///
    /// # Errors
    /// Unavailable when too many wait for their turn.
    pub(crate) async fn hash(&self, password: SecretString) -> Result<String, Error> {
        self.in_turn(move || {
            let hash: PasswordHash =
                hasher()?.hash_password(password.expose_secret().as_bytes()).map_err(Error::internal)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether the password is the one whose hash is stored; with none stored it never is, and takes as
    /// long to say.
    ///
    /// # Errors
    /// Unavailable when too many wait for their turn; Internal when the stored hash is no hash.
    pub(crate) async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<bool, Error> {
        if password.expose_secret().len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        self.in_turn(move || {
            let known = stored.is_some();
            let stored = stored.unwrap_or_else(|| NOBODY.to_owned());
            let stored = PasswordHash::new(&stored).map_err(Error::internal)?;
            let right = hasher()?.verify_password(password.expose_secret().as_bytes(), &stored).is_ok();
            Ok(right && known)
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn
            .map_err(|_| Error::new(Code::Unavailable, "too many logins at this moment; try again"))?
            .map_err(Error::internal)?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
        .map_err(Error::internal)?
    }
}

/// Refuses a new password that is too short or too long.
///
/// # Errors
/// [`Fault::BadInput`] with the bound.
pub(crate) fn check_strength(password: &str) -> Result<(), Fault> {
    if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
        return Err(Fault::BadInput(format!(
            "a password has at least {MIN_PASSWORD_CHARS} characters and at most {MAX_PASSWORD_BYTES} bytes"
        )));
    }
    Ok(())
}

fn hasher() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Passwords::new(1);
        let stored = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse battery".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse batterY".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("x".repeat(MAX_PASSWORD_BYTES + 1).into(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("correct horse battery".into(), None).await.unwrap());
    }

    #[test]
    fn the_hash_of_nobody_costs_what_a_true_one_costs() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&nobody).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
        assert_eq!(nobody.hash.unwrap().len(), 32);
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(check_strength("0123456789").is_ok());
        assert!(check_strength("012345678").is_err());
        assert!(check_strength(&"x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
    }
}
