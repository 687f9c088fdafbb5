//! Verifies tokens of another issuer by the rules of Firebase: signed with a key of a set that changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use jobs::config::Reader;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::fetch::{self, Fetched};
use super::token::now_s;
use crate::error::Fault;

/// Where Google publishes the certificates of Firebase's token service.
const GOOGLE: &str =
    "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com";

/// The longest token that is looked at, in bytes; Firebase's have some 1,200.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The longest key id, in bytes.
const MAX_KID_BYTES: usize = 128;
/// The longest subject, in characters.
const MAX_SUBJECT_CHARS: usize = 128;
/// How far the issuer's clock may be ahead of ours, in seconds.
const LEEWAY_S: u64 = 30;
/// For how long a set is good that does not say it.
const DEFAULT_AGE: Duration = Duration::from_secs(3600);
/// No set is asked for more often than this: an unknown key id must not let anybody make us ask.
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(30);

/// Another issuer whose tokens are taken.
#[derive(Debug, Clone)]
pub struct ExternalConfig {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be.
    pub audience: String,
    /// Where its certificates are.
    pub certificates: Certificates,
}

/// Where a set of certificates is: a JSON object of PEM texts by key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// At an address, `https` or, for stand-ins, `http`.
    Url(String),
    /// In a file, read again when its age is up.
    File(PathBuf),
}

/// Who a valid token speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The issuer.
    pub(crate) issuer: String,
    /// The issuer's name for them.
    pub(crate) subject: String,
    /// Their e-mail address, if the issuer has seen to it that it is theirs.
    pub(crate) email: Option<String>,
}

/// Verifies, with the certificates that it keeps.
pub(crate) struct External {
    config: ExternalConfig,
    validation: Validation,
    keys: RwLock<Kept>,
    /// Held while asking, so that one asks and the others wait for what it gets.
    asking: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Kept {
    keys: HashMap<String, DecodingKey>,
    fresh_until: Option<Instant>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    sub: String,
    iat: u64,
    #[serde(rename = "exp")]
    _exp: u64,
    auth_time: u64,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
}

impl ExternalConfig {
    /// Reads `FIREBASE_PROJECT` and `FIREBASE_CERTIFICATES`; none without the first.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let project = reader.text("FIREBASE_PROJECT")?;
        let place = reader.text("FIREBASE_CERTIFICATES").unwrap_or_else(|| GOOGLE.to_owned());
        let certificates = if place.contains("://") {
            if !place.starts_with("https://") && !place.starts_with("http://127.0.0.1:") {
                reader.fault("`FIREBASE_CERTIFICATES` must be an `https` address or the path of a file");
            }
            Certificates::Url(place)
        } else {
            Certificates::File(place.into())
        };
        Some(Self::firebase(&project, certificates))
    }

    /// The issuer of a Firebase project.
    pub fn firebase(project: &str, certificates: Certificates) -> Self {
        Self {
            issuer: format!("https://securetoken.google.com/{project}"),
            audience: project.to_owned(),
            certificates,
        }
    }
}

impl External {
    /// A verifier that has no certificates yet and asks at the first token.
    pub(crate) fn new(config: ExternalConfig) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        Self { config, validation, keys: RwLock::default(), asking: Mutex::default() }
    }

    /// Who a token speaks of, if the issuer signed it for us and it has not ended.
    ///
    /// # Errors
    /// [`Fault::BadCredentials`], which does not tell what was noticed; Unavailable while there are no
    /// certificates to be had.
    pub(crate) async fn verify(&self, token: &str) -> Result<Subject, Fault> {
        let bad = || Fault::BadCredentials("the token is not valid; log in again".into());
        if token.len() > MAX_TOKEN_BYTES {
            return Err(bad());
        }
        let header = decode_header(token).map_err(|_| bad())?;
        // The algorithm is ours to say. Keys and addresses of keys in a header are how a forger brings their own.
        let brings_keys =
            header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
        if header.alg != Algorithm::RS256 || brings_keys || header.crit.is_some() {
            return Err(bad());
        }
        let kid = header.kid.filter(|kid| (1..=MAX_KID_BYTES).contains(&kid.len())).ok_or_else(bad)?;
        let key = self.key(&kid).await?.ok_or_else(bad)?;
        let claims = decode::<Claims>(token, &key, &self.validation).map_err(|_| bad())?.claims;
        let latest = now_s()? + LEEWAY_S;
        let named = (1..=MAX_SUBJECT_CHARS).contains(&claims.sub.chars().count());
        let ours = claims.aud == self.config.audience && claims.iss == self.config.issuer;
        if !named || !ours || claims.iat > latest || claims.auth_time > latest {
            return Err(bad());
        }
        let email = claims.email.filter(|_| claims.email_verified);
        Ok(Subject { issuer: claims.iss, subject: claims.sub, email })
    }

    /// The key of this id. Asks for the set when it is out of date or does not have the key.
    async fn key(&self, kid: &str) -> Result<Option<DecodingKey>, Fault> {
        let (key, fresh) = self.kept(kid);
        if key.is_some() && fresh {
            return Ok(key);
        }
        let mut asked = self.asking.lock().await;
        // Somebody else may have asked while we waited.
        let (key, fresh) = self.kept(kid);
        let lately = asked.is_some_and(|at| at.elapsed() < ASK_AT_MOST_EVERY);
        if (key.is_some() && fresh) || lately {
            return self.answer(key);
        }
        *asked = Some(Instant::now());
        match self.fetch().await {
            Ok((keys, age)) => {
                let mut kept = self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                *kept = Kept { keys, fresh_until: Some(Instant::now() + age) };
            }
            // What is known stays good while nothing newer is to be had.
            Err(error) => {
                tracing::warn!(%error, "the certificates of the issuer of logins are not to be had")
            }
        }
        let key = self.kept(kid).0;
        self.answer(key)
    }

    fn kept(&self, kid: &str) -> (Option<DecodingKey>, bool) {
        let kept = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (kept.keys.get(kid).cloned(), kept.fresh_until.is_some_and(|until| Instant::now() < until))
    }

    /// Without any certificate, nobody can say that a token is no good.
    fn answer(&self, key: Option<DecodingKey>) -> Result<Option<DecodingKey>, Fault> {
        let none = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).keys.is_empty();
        if none {
            let told = "logins of the other issuer cannot be checked now; try again";
            return Err(jobs::Error::new(jobs::Code::Unavailable, told).into());
        }
        Ok(key)
    }

    async fn fetch(&self) -> Result<(HashMap<String, DecodingKey>, Duration), String> {
        let Fetched { text, max_age } = match &self.config.certificates {
            Certificates::Url(url) => fetch::text(url).await?,
            Certificates::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                Fetched { text: text.map_err(|e| format!("`{}`: {e}", path.display()))?, max_age: None }
            }
        };
        let set: HashMap<String, String> = serde_json::from_str(&text).map_err(|e| format!("no set: {e}"))?;
        let mut keys = HashMap::new();
        for (kid, pem) in set {
            let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|e| format!("`{kid}`: {e}"))?;
            keys.insert(kid, key);
        }
        if keys.is_empty() {
            return Err("the set is empty".into());
        }
        Ok((keys, max_age.unwrap_or(DEFAULT_AGE)))
    }
}
