//! Issues and verifies the tokens that a login gives.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use jobs::Error;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rules::id::UserId;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::config::ApiConfig;
use crate::error::Fault;

/// Who issues.
const ISSUER: &str = "millrace";

/// For whom: a token of another product with the same key is none of ours.
const AUDIENCE: &str = "millrace-api";

/// How far clocks of our own processes may differ, in seconds.
const LEEWAY_S: u64 = 10;

/// The longest token that is looked at, in bytes; ours have some 400.
const MAX_TOKEN_BYTES: usize = 2048;

/// Signs and verifies tokens with one key.
pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    ttl: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    iat: u64,
    exp: u64,
    epoch: i32,
}

/// What a valid token says. Whether its session still stands, the user's row tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
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
        let secret = config.jwt_secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY_S;
        Self {
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
            validation,
            ttl: config.token_ttl,
        }
    }

    /// A token for a session that begins now.
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
            iat,
            exp,
            epoch: session.epoch,
        };
        let token = encode(&header(), &claims, &self.signing).map_err(Error::internal)?;
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
        // The header is compared, never read: no algorithm, key id or key address in it can mean anything.
        if token.len() > MAX_TOKEN_BYTES || !self.has_our_header(token) {
            return Err(bad());
        }
        let claims = decode::<Claims>(token, &self.verifying, &self.validation)
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
        Ok(Session { user: claims.sub, epoch: claims.epoch })
    }

    fn has_our_header(&self, token: &str) -> bool {
        use base64::Engine;
        let ours = serde_json::to_vec(&header()).unwrap_or_default();
        let ours = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(ours);
        token.split_once('.').is_some_and(|(header, _)| header == ours)
    }
}

fn header() -> Header {
    Header::new(Algorithm::HS256)
}

fn now_s() -> Result<u64, Error> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::internal)?.as_secs())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens() -> Tokens {
        Tokens::new(&ApiConfig::new("127.0.0.1:0".parse().unwrap(), SECRET.into()))
    }

    fn session() -> Session {
        Session { user: UserId(Uuid::from_u128(7)), epoch: 3 }
    }

    fn claims() -> Value {
        let now = now_s().unwrap();
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": Uuid::from_u128(7), "iat": now, "exp": now + 60, "epoch": 3})
    }

    fn signed(header: &Header, claims: &Value, secret: &str) -> String {
        encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn refused(token: &str) -> String {
        match tokens().verify(token) {
            Err(Fault::BadCredentials(text)) => text,
            other => panic!("{token} gave {other:?}"),
        }
    }

    #[test]
    fn what_was_issued_is_accepted() {
        let issued = tokens().issue(session()).unwrap();
        assert_eq!(tokens().verify(&issued.token).unwrap(), session());
        assert!(issued.expires_at > Utc::now());
        assert_eq!(tokens().verify(&signed(&header(), &claims(), SECRET)).unwrap(), session());
    }

    #[test]
    fn each_claim_must_be_there_and_right() {
        for name in ["iss", "aud", "sub", "iat", "exp", "epoch"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            refused(&signed(&header(), &claims, SECRET));
        }
        let now = now_s().unwrap();
        for (name, value) in [
            ("iss", json!("other")),
            ("aud", json!("other")),
            ("aud", json!([AUDIENCE])),
            ("sub", json!("nobody")),
            ("iat", json!(now + 3600)),
            ("exp", json!("tomorrow")),
            ("extra", json!(true)),
        ] {
            let mut claims = claims();
            claims[name] = value;
            refused(&signed(&header(), &claims, SECRET));
        }
        let mut claims = claims();
        (claims["iat"], claims["exp"]) = (json!(now - 120), json!(now - 60));
        assert!(refused(&signed(&header(), &claims, SECRET)).contains("expired"));
    }

    #[test]
    fn nothing_in_a_header_means_anything() {
        let other = |change: &dyn Fn(&mut Header)| {
            let mut header = header();
            change(&mut header);
            refused(&signed(&header, &claims(), SECRET));
        };
        other(&|h| h.alg = Algorithm::HS512);
        other(&|h| h.kid = Some("../../etc/passwd".into()));
        other(&|h| h.jku = Some("https://example.org/keys".into()));
        other(&|h| h.typ = None);
        let payload = B64.encode(claims().to_string());
        for alg in ["none", "None", "RS256", "HS256 "] {
            let header = B64.encode(json!({"typ": "JWT", "alg": alg}).to_string());
            refused(&format!("{header}.{payload}."));
            refused(&format!("{header}.{payload}.AAAA"));
        }
    }

    #[test]
    fn another_key_a_cut_token_and_rubbish_are_refused() {
        refused(&signed(&header(), &claims(), "another key of thirty-two bytes!!"));
        let token = signed(&header(), &claims(), SECRET);
        refused(&token[..token.len() - 1]);
        refused(&format!("{token}.{token}"));
        let twice = format!("{{\"epoch\":4,{}", &claims().to_string()[1..]);
        let head = token.split('.').next().unwrap();
        refused(&format!("{head}.{}.AAAA", B64.encode(twice)));
        for rubbish in ["", ".", "..", "a.b.c", &"x".repeat(100_000)] {
            refused(rubbish);
        }
    }
}
