//! Secrets that are shown once and kept as their hash: refresh tokens and invitations.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Random bytes of a secret: so many that it is found by its hash, and needs no slow one.
const BYTES: usize = 32;

/// The longest text that is looked at, in bytes.
const MAX_BYTES: usize = 128;

/// What a secret is good for, told by how it begins, so that one is not taken for another and a scanner of
/// leaked text knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Goes on with a session.
    Refresh,
    /// Lets somebody into a tenant.
    Invitation,
}

impl Purpose {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "mill_refresh_",
            Self::Invitation => "mill_invite_",
        }
    }
}

/// A new secret, and its hash.
pub(crate) struct OneTime {
    /// To be shown once.
    pub(crate) text: String,
    /// To be kept.
    pub(crate) hash: [u8; 32],
}

impl OneTime {
    /// Draws one.
    pub(crate) fn draw(purpose: Purpose) -> Self {
        let random: [u8; BYTES] = rand::random();
        let text = format!("{}{}", purpose.prefix(), URL_SAFE_NO_PAD.encode(random));
        Self { hash: Sha256::digest(text.as_bytes()).into(), text }
    }
}

/// The hash of a secret that somebody shows; none when it cannot be one for this purpose.
pub(crate) fn hash_of(purpose: Purpose, text: &str) -> Option<[u8; 32]> {
    let fits = text.starts_with(purpose.prefix()) && text.len() <= MAX_BYTES;
    fits.then(|| Sha256::digest(text.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_serves_its_own_purpose() {
        let (one, other) = (OneTime::draw(Purpose::Refresh), OneTime::draw(Purpose::Refresh));
        assert_ne!(one.text, other.text);
        assert_eq!(hash_of(Purpose::Refresh, &one.text), Some(one.hash));
        assert_eq!(hash_of(Purpose::Invitation, &one.text), None);
        assert_eq!(hash_of(Purpose::Refresh, &format!("mill_refresh_{}", "x".repeat(200))), None);
    }
}
