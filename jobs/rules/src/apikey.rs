//! The form of an API key: made, read with a checksum before any look-up, kept as a hash.
//!
//! `mill_live_<public id>_<secret><checksum>`. The public id finds the row, the secret proves the right,
//! and the checksum tells a typing error from a wrong key without a database, and lets a scanner of
//! leaked text know our keys for sure.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How every key begins.
pub const PREFIX: &str = "mill_live_";
/// Random bytes in a public id: 80 bits, so that two keys never share one.
pub const PUBLIC_BYTES: usize = 10;
/// Random bytes in a secret: 192 bits. So long a secret needs no slow hash.
pub const SECRET_BYTES: usize = 24;
/// The length of the stored hash in bytes.
pub const HASH_BYTES: usize = 32;

/// Base62 digits that hold [`PUBLIC_BYTES`].
const PUBLIC_DIGITS: usize = 14;
/// Base62 digits that hold [`SECRET_BYTES`].
const SECRET_DIGITS: usize = 33;
/// Base62 digits that hold a CRC-32.
const CHECKSUM_DIGITS: usize = 6;
const KEY_CHARS: usize = PREFIX.len() + PUBLIC_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key: the text is shown once, the rest is stored.
pub struct Minted {
    /// The whole key.
    pub text: SecretString,
    /// What the row is found by.
    pub public_id: String,
    /// SHA-256 of the secret.
    pub hash: [u8; HASH_BYTES],
}

/// A key that somebody presented, well formed; whether it is right the stored hash tells.
pub struct Presented {
    /// What the row is found by.
    pub public_id: String,
    hash: [u8; HASH_BYTES],
}

/// Why a text is no API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not begin as our keys do.
    #[error("the API key does not begin with `mill_live_`")]
    Prefix,
    /// It is cut short, too long, or its parts are not where they belong.
    #[error(
        "the API key does not have {KEY_CHARS} characters in the form `mill_live_<id>_<secret>`; copy it whole"
    )]
    Shape,
    /// It holds a character that no key has.
    #[error("the API key holds a character outside `0-9 A-Z a-z`")]
    Alphabet,
    /// It was mistyped or cut together.
    #[error("the checksum of the API key is wrong; it was mistyped")]
    Checksum,
}

/// Makes a key of random bytes.
pub fn mint(public: [u8; PUBLIC_BYTES], secret: [u8; SECRET_BYTES]) -> Minted {
    let public_id = base62(&public, PUBLIC_DIGITS);
    let secret = SecretString::from(base62(&secret, SECRET_DIGITS));
    let bare = SecretString::from(format!("{PREFIX}{public_id}_{}", secret.expose_secret()));
    let text = format!("{}{}", bare.expose_secret(), checksum(bare.expose_secret())).into();
    Minted { text, hash: hash(secret.expose_secret()), public_id }
}

/// Reads a key that somebody presented.
///
/// # Errors
/// What is wrong with its form; none of it needs a look at the database.
pub fn parse(text: &str) -> Result<Presented, Fault> {
    let rest = text.strip_prefix(PREFIX).ok_or(Fault::Prefix)?;
    if text.len() != KEY_CHARS {
        return Err(Fault::Shape);
    }
    let (public_id, rest) = rest.split_once('_').ok_or(Fault::Shape)?;
    if public_id.len() != PUBLIC_DIGITS {
        return Err(Fault::Shape);
    }
    if !public_id.bytes().chain(rest.bytes()).all(|b| b.is_ascii_alphanumeric()) {
        return Err(Fault::Alphabet);
    }
    // All is ASCII from here on, so a cut between bytes is a cut between characters.
    let (bare, check) = text.split_at(KEY_CHARS - CHECKSUM_DIGITS);
    if checksum(bare) != check {
        return Err(Fault::Checksum);
    }
    Ok(Presented { public_id: public_id.to_owned(), hash: hash(&rest[..SECRET_DIGITS]) })
}

impl Presented {
    /// Whether the secret is the one whose hash is stored, in constant time.
    pub fn matches(&self, stored_hash: &[u8]) -> bool {
        self.hash.as_slice().ct_eq(stored_hash).into()
    }
}

fn hash(secret: &str) -> [u8; HASH_BYTES] {
    Sha256::digest(secret.as_bytes()).into()
}

fn checksum(bare: &str) -> String {
    base62(&crc32fast::hash(bare.as_bytes()).to_be_bytes(), CHECKSUM_DIGITS)
}

/// The bytes as a number in base 62, with leading zeros to `digits` digits, which must be enough.
fn base62(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let mut remainder = 0usize;
        for byte in &mut number {
            let dividend = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(dividend / 62).unwrap_or(u8::MAX);
            remainder = dividend % 62;
        }
        *digit = DIGITS[remainder];
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> String {
        mint([7; PUBLIC_BYTES], [9; SECRET_BYTES]).text.expose_secret().to_owned()
    }

    #[test]
    fn base62_has_room_and_order() {
        assert_eq!(base62(&[0, 61], 3), "00z");
        assert_eq!(base62(&[0, 62], 3), "010");
        assert_eq!(base62(&u32::MAX.to_be_bytes(), CHECKSUM_DIGITS), "4gfFC3");
        // The largest values fit: one digit fewer would lose the head.
        assert_ne!(base62(&[255; PUBLIC_BYTES], PUBLIC_DIGITS).as_bytes()[0], b'0');
        assert_ne!(base62(&[255; SECRET_BYTES], SECRET_DIGITS).as_bytes()[0], b'0');
    }

    #[test]
    fn a_key_has_its_published_form() {
        let key = key();
        assert_eq!(key.len(), KEY_CHARS);
        let parts: Vec<&str> = key.split('_').collect();
        assert_eq!(
            (parts.len(), parts[0], parts[1], parts[2].len(), parts[3].len()),
            (4, "mill", "live", 14, 39)
        );
    }

    #[test]
    fn each_fault_has_its_name() {
        let key = key();
        let fault = |text: &str| parse(text).err().unwrap();
        assert_eq!(fault(""), Fault::Prefix);
        assert_eq!(fault("mill_test_x"), Fault::Prefix);
        assert_eq!(fault(&key[..key.len() - 1]), Fault::Shape);
        assert_eq!(fault(&format!("{key}0")), Fault::Shape);
        assert_eq!(fault(&key.replacen('_', "0", 3).replacen("mill0live0", PREFIX, 1)), Fault::Shape);
        assert_eq!(fault(&format!("{}-", &key[..key.len() - 1])), Fault::Alphabet);
        assert_eq!(fault(&format!("{}é", &key[..key.len() - 2])), Fault::Alphabet);
        let last = if key.ends_with('0') { '1' } else { '0' };
        assert_eq!(fault(&format!("{}{last}", &key[..key.len() - 1])), Fault::Checksum);
    }

    proptest! {
        #[test]
        fn a_minted_key_reads_back(public: [u8; PUBLIC_BYTES], secret: [u8; SECRET_BYTES], other: [u8; SECRET_BYTES]) {
            let minted = mint(public, secret);
            let presented = parse(minted.text.expose_secret()).ok().unwrap();
            prop_assert_eq!(&presented.public_id, &minted.public_id);
            prop_assert!(presented.matches(&minted.hash));
            prop_assert_eq!(presented.matches(&mint(public, other).hash), secret == other);
            prop_assert!(!presented.matches(&minted.hash[..31]));
            prop_assert!(!presented.matches(&[]));
        }

        #[test]
        fn one_mistyped_character_is_noticed(at in PREFIX.len()..KEY_CHARS, digit in 0..62usize) {
            let key = key();
            let mut typed = key.clone().into_bytes();
            typed[at] = DIGITS[digit];
            let typed = String::from_utf8(typed).unwrap();
            prop_assert_eq!(parse(&typed).is_ok(), typed == key);
        }

        #[test]
        fn no_text_makes_it_stumble(text: String) {
            prop_assert!(parse(&text).is_err());
            let dressed = format!("{PREFIX}{text}");
            prop_assert!(parse(&dressed).is_err());
        }
    }
}
