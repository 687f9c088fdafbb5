//! The keys that seal and open: one active, the rest retired and kept to read what they sealed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::cipher::{IV_BYTES, KEY_BYTES, Key, Opened};
use super::envelope::{self, Envelope, OpenError, Place};

/// The most keys that a ring holds. Old ones should be dropped once nothing is sealed under them.
pub const KEYS_MAX: usize = 16;

/// The longest key id, in characters of `A-Z a-z 0-9 _ -`.
pub const KEY_ID_CHARS_MAX: usize = 32;

/// The keys of this installation. Has no `Debug`, and wipes its keys when dropped.
pub struct Keyring {
    /// Seals, and opens what it sealed.
    active: (String, Box<Key>),
    /// Only open what they sealed while they were active.
    retired: Vec<(String, Box<Key>)>,
}

/// What is wrong with the text of a keyring, all of it. Names entries by position or id, never by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringFaults(pub Vec<String>);

impl fmt::Display for KeyringFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for KeyringFaults {}

impl Keyring {
    /// Reads `id:base64,id:base64`: the first entry is the active key, the others are retired ones.
    /// Each key is [`KEY_BYTES`] bytes in standard base64.
    ///
    /// # Errors
    /// Every fault of the text at once.
    pub fn parse(text: &str) -> Result<Self, KeyringFaults> {
        let mut keys: Vec<(String, Box<Key>)> = Vec::new();
        let mut faults = Vec::new();
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        if entries.len() > KEYS_MAX {
            faults.push(format!("the keyring has {} keys; at most {KEYS_MAX} are kept", entries.len()));
        }
        for (index, entry) in entries.iter().take(KEYS_MAX).enumerate() {
            match parse_entry(index + 1, entry) {
                Err(fault) => faults.push(fault),
                Ok((id, _)) if keys.iter().any(|(other, _)| *other == id) => {
                    faults.push(format!("key id `{id}` stands twice; give each key its own"));
                }
                Ok(entry) => keys.push(entry),
            }
        }
        if !faults.is_empty() || keys.is_empty() {
            return Err(KeyringFaults(faults));
        }
        let active = keys.remove(0);
        Ok(Self { active, retired: keys })
    }

    /// The text of a ring with one key, as [`Keyring::parse`] reads it. `key` must be random.
    pub fn text_of(id: &str, key: &[u8; KEY_BYTES]) -> SecretString {
        let encoded = Zeroizing::new(STANDARD.encode(key));
        format!("{id}:{}", *encoded).into()
    }

    /// Seals `plain` for its place under the active key. `iv` must be random and used once.
    pub fn seal(&self, place: &Place<'_>, iv: [u8; IV_BYTES], plain: &[u8]) -> Vec<u8> {
        envelope::close(&self.active.0, &self.active.1, place, iv, plain)
    }

    /// Opens a value that was sealed for this place. The plain text is wiped when dropped.
    ///
    /// # Errors
    /// [`OpenError::UnknownKey`] if it names a key that is not in the ring, else [`OpenError::Refused`].
    pub fn open(&self, place: &Place<'_>, stored: &[u8]) -> Result<Opened, OpenError> {
        let envelope = Envelope::split(stored).ok_or(OpenError::Refused)?;
        // An id that no ring can hold is not the id of a lost key but a value that was tampered with.
        if !is_key_id(envelope.key_id) {
            return Err(OpenError::Refused);
        }
        let key =
            self.key(envelope.key_id).ok_or_else(|| OpenError::UnknownKey(envelope.key_id.to_owned()))?;
        envelope.open(key, place).ok_or(OpenError::Refused)
    }

    /// Whether a stored value names the active key; if not, it should be sealed anew.
    pub fn is_current(&self, stored: &[u8]) -> bool {
        Envelope::split(stored).is_some_and(|e| e.key_id == self.active.0)
    }

    fn key(&self, id: &str) -> Option<&Key> {
        std::iter::once(&self.active)
            .chain(&self.retired)
            .find(|(other, _)| other == id)
            .map(|(_, key)| &**key)
    }
}

fn parse_entry(position: usize, entry: &str) -> Result<(String, Box<Key>), String> {
    if entry.is_empty() {
        return Err(format!("entry {position} of the keyring is empty; write `id:base64`"));
    }
    let Some((id, encoded)) = entry.split_once(':') else {
        return Err(format!("entry {position} of the keyring has no `:`; write `id:base64`"));
    };
    // A bad id is not printed: whoever forgot the id may have put the key in its place.
    if !is_key_id(id) {
        return Err(format!(
            "the id of entry {position} of the keyring is not 1 to {KEY_ID_CHARS_MAX} characters of `A-Z a-z 0-9 _ -`"
        ));
    }
    let bytes = STANDARD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| format!("key `{id}` is not standard base64"))?;
    let key = Key::new(&bytes)
        .ok_or_else(|| format!("key `{id}` has {} bytes; it needs {KEY_BYTES}", bytes.len()))?;
    Ok((id.to_owned(), key))
}

fn is_key_id(id: &str) -> bool {
    (1..=KEY_ID_CHARS_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use uuid::Uuid;

    fn ring(entries: &[(&str, u8)]) -> Keyring {
        let texts: Vec<String> = entries
            .iter()
            .map(|(id, fill)| Keyring::text_of(id, &[*fill; KEY_BYTES]).expose_secret().to_owned())
            .collect();
        Keyring::parse(&texts.join(",")).ok().unwrap()
    }

    fn place(tenant: u128, table: &'static str, column: &'static str, row: u128) -> Place<'static> {
        Place { tenant: Some(TenantId(Uuid::from_u128(tenant))), table, column, row: Uuid::from_u128(row) }
    }

    const HERE: Place<'static> = Place {
        tenant: Some(TenantId(Uuid::from_u128(1))),
        table: "listener",
        column: "secret",
        row: Uuid::from_u128(2),
    };

    proptest! {
        #[test]
        fn what_is_sealed_opens(plain: Vec<u8>, iv: [u8; IV_BYTES], tenant: Option<u128>, row: u128, table: String, column: String) {
            let ring = ring(&[("k1", 1)]);
            let place = Place { tenant: tenant.map(|t| TenantId(Uuid::from_u128(t))), table: &table, column: &column, row: Uuid::from_u128(row) };
            let stored = ring.seal(&place, iv, &plain);
            let opened = ring.open(&place, &stored).unwrap();
            prop_assert_eq!(opened.expose_secret(), &plain);
            prop_assert!(plain.len() < 8 || !stored.windows(plain.len()).any(|w| w == plain));
        }

        #[test]
        fn any_flipped_bit_and_any_other_row_is_refused(
            plain: Vec<u8>, iv: [u8; IV_BYTES], at: prop::sample::Index, bit in 0..8u8, row in 3u128..,
        ) {
            let ring = ring(&[("k1", 1)]);
            let stored = ring.seal(&HERE, iv, &plain);
            let mut changed = stored.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(ring.open(&HERE, &changed).is_err(), "bit {} of byte {}", bit, at);
            let moved = Place { row: Uuid::from_u128(row), ..HERE };
            prop_assert_eq!(ring.open(&moved, &stored).err(), Some(OpenError::Refused));
        }

        #[test]
        fn rubbish_never_opens(stored: Vec<u8>) {
            prop_assert!(ring(&[("k1", 1)]).open(&HERE, &stored).is_err());
        }
    }

    #[test]
    fn every_change_of_one_byte_is_refused() {
        let ring = ring(&[("k1", 1), ("k2", 2)]);
        let stored = ring.seal(&HERE, [9; IV_BYTES], b"a secret of more than one block of sixteen");
        for at in 0..stored.len() {
            for flip in 1..=u8::MAX {
                let mut changed = stored.clone();
                changed[at] ^= flip;
                assert!(ring.open(&HERE, &changed).is_err(), "byte {at} ^ {flip}");
            }
            assert!(ring.open(&HERE, &stored[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(
            ring.open(&HERE, &stored).unwrap().expose_secret()[..],
            b"a secret of more than one block of sixteen"[..]
        );
    }

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let ring = ring(&[("k1", 1)]);
        let stored = ring.seal(&HERE, [9; IV_BYTES], b"secret");
        let elsewhere = [
            place(1, "listener", "secret", 3),
            place(3, "listener", "secret", 2),
            place(1, "listener", "secrets", 2),
            place(1, "listeners", "ecret", 2),
            place(1, "tenant", "secret", 2),
            Place { tenant: None, ..HERE },
        ];
        for other in elsewhere {
            assert_eq!(ring.open(&other, &stored).err(), Some(OpenError::Refused), "{other:?}");
        }
    }

    #[test]
    fn a_retired_key_still_opens_and_does_not_seal() {
        let old = ring(&[("k1", 1)]);
        let stored = old.seal(&HERE, [9; IV_BYTES], b"secret");
        let new = ring(&[("k2", 2), ("k1", 1)]);
        assert_eq!(new.open(&HERE, &stored).unwrap().expose_secret()[..], b"secret"[..]);
        assert!(!new.is_current(&stored));
        let anew = new.seal(&HERE, [9; IV_BYTES], b"secret");
        assert!(new.is_current(&anew));
        assert_eq!(old.open(&HERE, &anew).err(), Some(OpenError::UnknownKey("k2".into())));
    }

    #[test]
    fn the_wrong_key_under_the_right_id_is_refused() {
        let stored = ring(&[("k1", 1)]).seal(&HERE, [9; IV_BYTES], b"secret");
        assert_eq!(ring(&[("k1", 2)]).open(&HERE, &stored).err(), Some(OpenError::Refused));
    }

    #[test]
    fn every_fault_of_a_keyring_is_named_and_no_key_is_shown() {
        let good = Keyring::text_of("k1", &[1; KEY_BYTES]).expose_secret().to_owned();
        let key = good.trim_start_matches("k1:").to_owned();
        let text = format!("{good},{key},,k1:{key},bad id:{key},k3:!!,k4:AAAA");
        let faults = Keyring::parse(&text).err().unwrap();
        assert_eq!(
            faults.0,
            [
                "entry 2 of the keyring has no `:`; write `id:base64`",
                "entry 3 of the keyring is empty; write `id:base64`",
                "key id `k1` stands twice; give each key its own",
                "the id of entry 5 of the keyring is not 1 to 32 characters of `A-Z a-z 0-9 _ -`",
                "key `k3` is not standard base64",
                "key `k4` has 3 bytes; it needs 64",
            ]
        );
        assert!(!faults.to_string().contains(&key[..16]));
        assert_eq!(
            Keyring::parse("").err().unwrap().0,
            ["entry 1 of the keyring is empty; write `id:base64`"]
        );
        let many: Vec<String> = (0..=KEYS_MAX).map(|i| format!("k{i}:{key}")).collect();
        assert_eq!(
            Keyring::parse(&many.join(",")).err().unwrap().0,
            ["the keyring has 17 keys; at most 16 are kept"]
        );
    }
}
