//! Issues and verifies the tokens that a login gives.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jobs::Error;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rules::id::{SessionId, UserId};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::ApiConfig;
use crate::error::Fault;

/// Who issues.
pub(super) const ISSUER: &str = "millrace";

/// For whom: a token of another product with the same key is none of ours.
pub(super) const AUDIENCE: &str = "millrace-api";

/// How far clocks of our own processes may differ, in seconds. It is not granted to a token's end.
const LEEWAY_S: u64 = 10;

/// The longest token that is looked at, in bytes; ours have some 450.
const MAX_TOKEN_BYTES: usize = 2048;

/// Bytes of a key id: enough to tell a few keys apart.
const KID_BYTES: usize = 8;

/// What a key id is the hash of, before the key: so that it is no hash of the key that means anything elsewhere.
const KID_SALT: &[u8] = b"millrace key id\0";

/// Signs tokens with one key, and verifies those of this and of retired ones.
pub(crate) struct Tokens {
    signing: EncodingKey,
    header: Header,
    /// The first is the one that signs.
    keys: Vec<Key>,
    validation: Validation,
    ttl: Duration,
}

/// A key that verifies.
struct Key {
    /// The only header that its tokens have, as it stands in them.
    header: String,
    verifying: DecodingKey,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: u64,
    exp: u64,
    epoch: i32,
}

/// What a valid token says. Whether its session still stands, the rows tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// Its id.
    pub(crate) id: SessionId,
    /// Who logged in.
    pub(crate) user: UserId,
    /// The user's session epoch at that time.
    pub(crate) epoch: i32,
}

/// A token, and when it ends.
pub(crate) struct Issued {
    /// The token.
    pub(crate) token: String,
    /// Its end.
    pub(crate) expires_at: DateTime<Utc>,
}

impl Tokens {
    /// Tokens signed with the configured key.
    pub(crate) fn new(config: &ApiConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        let secret = config.jwt_secret.expose_secret().as_bytes();
        let all = std::iter::once(&config.jwt_secret).chain(&config.jwt_retired);
        Self {
            signing: EncodingKey::from_secret(secret),
            header: header(secret),
            keys: all.map(|secret| Key::of(secret.expose_secret().as_bytes())).collect(),
            validation,
            ttl: config.token_ttl,
        }
    }

    /// A token for a session, good from now on.
    ///
    /// # Errors
    /// Internal when the clock stands before 1970 or signing fails.
    pub(crate) fn issue(&self, session: Session) -> Result<Issued, Error> {
        let iat = now_s()?;
        let exp = iat + self.ttl.as_secs();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: session.user,
            sid: session.id,
            iat,
            exp,
            epoch: session.epoch,
        };
        let token = encode(&self.header, &claims, &self.signing).map_err(Error::internal)?;
        let expires_at = i64::try_from(exp).ok().and_then(|s| DateTime::from_timestamp(s, 0));
        let expires_at = expires_at.ok_or_else(|| Error::internal("a token's end is no date"))?;
        Ok(Issued { token, expires_at })
    }

    /// What a token says, if it is one of ours and has not ended.
    ///
    /// # Errors
    /// [`Fault::BadCredentials`], which does not tell a forger what was noticed; only an expired token is
    /// named, since it was once good.
    pub(crate) fn verify(&self, token: &str) -> Result<Session, Fault> {
        let bad = || Fault::BadCredentials("the token is not valid; log in again".into());
        if token.len() > MAX_TOKEN_BYTES {
            return Err(bad());
        }
        // The header is compared, never read: no algorithm, key id or key address in it can mean anything but
        // which of our keys it was.
        let key = self.key_of(token).ok_or_else(bad)?;
        let claims = decode::<Claims>(token, &key.verifying, &self.validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => {
                    Fault::BadCredentials("the token has expired; log in again".into())
                }
                _ => bad(),
            })?
            .claims;
        if claims.iat > now_s()? + LEEWAY_S || claims.exp <= claims.iat {
            return Err(bad());
        }
        Ok(Session { id: claims.sid, user: claims.sub, epoch: claims.epoch })
    }

    /// Whether a token says that it is ours.
    pub(crate) fn claims_to_be_ours(&self, token: &str) -> bool {
        self.key_of(token).is_some()
    }

    fn key_of(&self, token: &str) -> Option<&Key> {
        let (header, _) = token.split_once('.')?;
        self.keys.iter().find(|key| key.header == header)
    }
}

impl Key {
    fn of(secret: &[u8]) -> Self {
        let header = serde_json::to_vec(&header(secret)).unwrap_or_default();
        Self { header: URL_SAFE_NO_PAD.encode(header), verifying: DecodingKey::from_secret(secret) }
    }
}

/// The header of the tokens that a key signs. The id is drawn from the key, so that all processes which hold
/// it agree without being told.
pub(super) fn header(secret: &[u8]) -> Header {
    let hash = Sha256::new().chain_update(KID_SALT).chain_update(secret).finalize();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(hex::encode(&hash[..KID_BYTES]));
    header
}

pub(super) fn now_s() -> Result<u64, Error> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::internal)?.as_secs())
}
