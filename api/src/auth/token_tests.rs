//! Every way in which a token can be wrong, one test each.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rules::id::{SessionId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::token::{AUDIENCE, ISSUER, Session, Tokens, header, now_s};
use crate::config::ApiConfig;
use crate::error::Fault;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const RETIRED: &str = "fedcba9876543210fedcba9876543210";

fn tokens() -> Tokens {
    let mut config = ApiConfig::new("127.0.0.1:0".parse().unwrap(), SECRET.into());
    config.jwt_retired = vec![RETIRED.into()];
    Tokens::new(&config)
}

fn session() -> Session {
    Session { id: SessionId(Uuid::from_u128(9)), user: UserId(Uuid::from_u128(7)), epoch: 3 }
}

fn claims() -> Value {
    let now = now_s().unwrap();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": session().user, "sid": session().id,
        "iat": now, "exp": now + 60, "epoch": 3,
    })
}

fn ours() -> Header {
    header(SECRET.as_bytes())
}

fn signed(header: &Header, claims: &Value, secret: &str) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A token of any text at all, rightly signed.
fn signed_text(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", B64.encode(header), B64.encode(payload));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    signed(&ours(), &claims, SECRET)
}

fn without(name: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    signed(&ours(), &claims, SECRET)
}

fn with_header(change: impl FnOnce(&mut Header)) -> String {
    let mut header = ours();
    change(&mut header);
    signed(&header, &claims(), SECRET)
}

#[track_caller]
fn refused(token: &str) -> String {
    match tokens().verify(token) {
        Err(Fault::BadCredentials(text)) => text,
        other => panic!("{} gave {other:?}", &token[..token.len().min(200)]),
    }
}

#[test]
fn what_was_issued_is_accepted() {
    let issued = tokens().issue(session()).unwrap();
    assert_eq!(tokens().verify(&issued.token).unwrap(), session());
    assert!(issued.expires_at > Utc::now());
    assert_eq!(tokens().verify(&signed(&ours(), &claims(), SECRET)).unwrap(), session());
    let by_hand = signed_text(&serde_json::to_string(&ours()).unwrap(), &claims().to_string());
    assert_eq!(tokens().verify(&by_hand).unwrap(), session());
}

#[test]
fn a_retired_key_verifies_and_signs_no_more() {
    let old = signed(&header(RETIRED.as_bytes()), &claims(), RETIRED);
    assert_eq!(tokens().verify(&old).unwrap(), session());
    let issued = tokens().issue(session()).unwrap().token;
    assert!(issued.starts_with(signed(&ours(), &claims(), SECRET).split('.').next().unwrap()));
    // A key signs under its own id alone.
    refused(&signed(&ours(), &claims(), RETIRED));
    refused(&signed(&header(RETIRED.as_bytes()), &claims(), SECRET));
}

#[test]
fn a_key_that_was_taken_away_verifies_no_more() {
    let gone = "a key of other days, thirty-two b.";
    refused(&signed(&header(gone.as_bytes()), &claims(), gone));
}

/// One test of its own for each refusal.
macro_rules! refusals {
    ($($name:ident: $token:expr;)*) => {
        $(#[test]
        fn $name() {
            refused(&$token);
        })*
    };
}

refusals! {
    no_issuer: without("iss");
    no_audience: without("aud");
    no_subject: without("sub");
    no_session: without("sid");
    no_time_of_issue: without("iat");
    no_end: without("exp");
    no_epoch: without("epoch");
    another_issuer: with("iss", json!("other"));
    another_audience: with("aud", json!("other"));
    a_list_of_audiences: with("aud", json!([AUDIENCE]));
    a_subject_that_is_no_id: with("sub", json!("nobody"));
    an_empty_subject: with("sub", json!(""));
    issued_far_in_the_future: with("iat", json!(now_s().unwrap() + 3600));
    an_end_that_is_no_number: with("exp", json!("tomorrow"));
    an_end_before_the_beginning: with("iat", json!(now_s().unwrap() + 61));
    a_claim_too_many: with("admin", json!(true));
    another_algorithm_of_the_family: with_header(|h| h.alg = Algorithm::HS512);
    no_key_id: with_header(|h| h.kid = None);
    an_unknown_key_id: with_header(|h| h.kid = Some("0011223344556677".into()));
    a_key_id_like_a_path: with_header(|h| h.kid = Some("../../../../dev/null".into()));
    a_key_id_like_sql: with_header(|h| h.kid = Some("x' union select 'key' --".into()));
    an_address_of_keys: with_header(|h| h.jku = Some("https://example.org/keys".into()));
    an_address_of_certificates: with_header(|h| h.x5u = Some("https://example.org/certificate".into()));
    another_type: with_header(|h| h.typ = None);
    another_key: signed(&ours(), &claims(), "another key of thirty-two bytes!!");
    a_hundred_kilobytes: with("iss", json!("x".repeat(100_000)));
}

#[test]
fn a_key_of_its_own_in_the_header() {
    let mut header = serde_json::to_value(ours()).unwrap();
    header["jwk"] = json!({"kty": "oct", "k": B64.encode(SECRET)});
    refused(&signed_text(&header.to_string(), &claims().to_string()));
}

#[test]
fn no_algorithm() {
    let payload = B64.encode(claims().to_string());
    for alg in ["none", "None", "nOnE", "RS256", "HS256 "] {
        let mut header = serde_json::to_value(ours()).unwrap();
        header["alg"] = json!(alg);
        let header = B64.encode(header.to_string());
        refused(&format!("{header}.{payload}."));
        refused(&format!("{header}.{payload}.AAAA"));
    }
}

#[test]
fn expired_a_moment_ago() {
    let now = now_s().unwrap();
    let mut claims = claims();
    (claims["iat"], claims["exp"]) = (json!(now - 60), json!(now - 1));
    assert!(refused(&signed(&ours(), &claims, SECRET)).contains("expired"));
}

#[test]
fn a_claim_twice() {
    let header = serde_json::to_string(&ours()).unwrap();
    let twice = format!("{{\"epoch\":4,{}", &claims().to_string()[1..]);
    refused(&signed_text(&header, &twice));
    let twice = format!("{{\"exp\":99999999999,{}", &claims().to_string()[1..]);
    refused(&signed_text(&header, &twice));
}

#[test]
fn no_token_at_all() {
    for rubbish in ["", ".", "..", "a.b.c"] {
        refused(rubbish);
    }
}

#[test]
fn cut_and_pasted() {
    let token = signed(&ours(), &claims(), SECRET);
    refused(&token[..token.len() - 1]);
    refused(&format!("{token}.{token}"));
    let (front, _) = token.rsplit_once('.').unwrap();
    refused(front);
    refused(&format!("{front}."));
}
