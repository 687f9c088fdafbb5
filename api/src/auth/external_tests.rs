//! Tokens of another issuer: what is taken, and every way in which one is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::external::{Certificates, External, ExternalConfig};
use super::token::now_s;
use crate::error::Fault;

const KEY: &str = include_str!("../../../tests/suite/stand_in/one.key");
const CERTIFICATE: &str = include_str!("../../../tests/suite/stand_in/one.crt");
const OTHER_KEY: &str = include_str!("../../../tests/suite/stand_in/other.key");

/// A verifier whose certificates are in a file.
fn external() -> (External, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({"k1": CERTIFICATE}).to_string()).unwrap();
    let config = ExternalConfig::firebase("acme", Certificates::File(file.path().into()));
    (External::new(config), file)
}

fn header() -> Header {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("k1".into());
    header
}

fn claims() -> Value {
    let now = now_s().unwrap();
    json!({
        "iss": "https://securetoken.google.com/acme", "aud": "acme", "sub": "s1", "iat": now - 10,
        "exp": now + 60, "auth_time": now - 10, "email": "ada@example.org", "email_verified": true,
        "firebase": {"sign_in_provider": "password"},
    })
}

fn signed(header: &Header, claims: &Value, key: &str) -> String {
    encode(header, claims, &EncodingKey::from_rsa_pem(key.as_bytes()).unwrap()).unwrap()
}

fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    signed(&header(), &claims, KEY)
}

fn without(name: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    signed(&header(), &claims, KEY)
}

fn with_header(change: impl FnOnce(&mut Header)) -> String {
    let mut header = header();
    change(&mut header);
    signed(&header, &claims(), KEY)
}

/// Signed with HS256, the certificate being the key: what a verifier falls for that asks the header.
fn with_public_key_as_secret() -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".into());
    encode(&header, &claims(), &EncodingKey::from_secret(CERTIFICATE.as_bytes())).unwrap()
}

fn unsigned() -> String {
    let header = json!({"alg": "none", "typ": "JWT", "kid": "k1"});
    format!("{}.{}.", B64.encode(header.to_string()), B64.encode(claims().to_string()))
}

fn twice() -> String {
    let payload = format!("{{\"sub\":\"other\",{}", &claims().to_string()[1..]);
    let header = serde_json::to_string(&header()).unwrap();
    let message = format!("{}.{}", B64.encode(header), B64.encode(payload));
    let key = EncodingKey::from_rsa_pem(KEY.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS256).unwrap();
    format!("{message}.{signature}")
}

fn ahead() -> u64 {
    now_s().unwrap() + 3600
}

#[tokio::test]
async fn a_token_for_us_is_taken() {
    let (external, _file) = external();
    let subject = external.verify(&signed(&header(), &claims(), KEY)).await.unwrap();
    assert_eq!((subject.subject.as_str(), subject.email.as_deref()), ("s1", Some("ada@example.org")));
    assert_eq!(subject.issuer, "https://securetoken.google.com/acme");
    // An address that the issuer has not verified is nobody's.
    let unverified = external.verify(&with("email_verified", json!(false))).await.unwrap();
    assert_eq!(unverified.email, None);
}

#[tokio::test]
async fn without_any_certificate_it_is_our_fault() {
    let config = ExternalConfig::firebase("acme", Certificates::File("/nowhere/at/all".into()));
    let told = External::new(config).verify(&signed(&header(), &claims(), KEY)).await;
    assert!(matches!(told, Err(Fault::House(error)) if error.code == jobs::Code::Unavailable));
}

/// One test of its own for each refusal.
macro_rules! refusals {
    ($($name:ident: $token:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            let (external, _file) = external();
            let told = external.verify(&$token).await;
            assert!(matches!(told, Err(Fault::BadCredentials(_))), "{told:?}");
        })*
    };
}

refusals! {
    no_issuer: without("iss");
    no_audience: without("aud");
    no_subject: without("sub");
    no_end: without("exp");
    no_time_of_issue: without("iat");
    no_time_of_login: without("auth_time");
    another_issuer: with("iss", json!("https://securetoken.google.com/other"));
    another_project: with("aud", json!("other"));
    a_list_of_audiences: with("aud", json!(["acme"]));
    an_empty_subject: with("sub", json!(""));
    a_long_subject: with("sub", json!("s".repeat(129)));
    expired_a_moment_ago: with("exp", json!(now_s().unwrap() - 1));
    issued_in_the_future: with("iat", json!(ahead()));
    logged_in_in_the_future: with("auth_time", json!(ahead()));
    a_claim_twice: twice();
    another_key: signed(&header(), &claims(), OTHER_KEY);
    an_unknown_key_id: with_header(|h| h.kid = Some("k2".into()));
    a_key_id_like_a_path: with_header(|h| h.kid = Some("../../../../dev/null".into()));
    a_key_id_like_sql: with_header(|h| h.kid = Some("k1' or '1'='1".into()));
    no_key_id: with_header(|h| h.kid = None);
    an_address_of_keys: with_header(|h| h.jku = Some("https://example.org/keys".into()));
    an_address_of_certificates: with_header(|h| h.x5u = Some("https://example.org/c".into()));
    a_certificate_of_its_own: with_header(|h| h.x5c = Some(vec!["AAAA".into()]));
    another_algorithm_of_the_family: with_header(|h| h.alg = Algorithm::RS512);
    the_public_key_as_a_secret: with_public_key_as_secret();
    no_signature: unsigned();
    a_hundred_kilobytes: with("pad", json!("x".repeat(100_000)));
    words: ["a", "b", "c"].join(".");
}
