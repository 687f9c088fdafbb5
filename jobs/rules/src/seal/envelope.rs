//! The stored form of a sealed value, and what it is bound to.

use uuid::Uuid;

use super::cipher::{IV_BYTES, Key, Opened, TAG_BYTES};
use crate::id::TenantId;

/// The first byte of each sealed value: the form, and with it the algorithm. Others are refused.
const VERSION: u8 = 1;

/// Where a sealed value stands. It opens there and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The row's tenant; none for what belongs to the installation.
    pub tenant: Option<TenantId>,
    /// The table's name.
    pub table: &'a str,
    /// The column's name.
    pub column: &'a str,
    /// The row's primary key.
    pub row: Uuid,
}

/// Why a sealed value did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The value names a key that the ring does not hold.
    #[error(
        "the value is sealed under key `{0}`, which the keyring does not hold; add it back as a retired key"
    )]
    UnknownKey(String),
    /// The value is not one of ours, was changed, or was moved here from another place. Which of these is
    /// not told, for an answer that differs is what an attacker measures.
    #[error("the sealed value does not open; it was changed, or moved from another row")]
    Refused,
}

/// The parts of a sealed value.
pub(super) struct Envelope<'a> {
    pub(super) key_id: &'a str,
    header: &'a [u8],
    iv: &'a [u8; IV_BYTES],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes a stored value apart; none if it cannot be one.
    pub(super) fn split(stored: &'a [u8]) -> Option<Self> {
        let [version, id_bytes, ..] = *stored else {
            return None;
        };
        if version != VERSION {
            return None;
        }
        let (header, rest) = stored.split_at_checked(2 + usize::from(id_bytes))?;
        let (iv, rest) = rest.split_first_chunk::<IV_BYTES>()?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        let key_id = std::str::from_utf8(&header[2..]).ok()?;
        Some(Self { key_id, header, iv, ciphertext, tag })
    }

    /// Opens it with the key it names.
    pub(super) fn open(&self, key: &Key, place: &Place<'_>) -> Option<Opened> {
        key.decrypt(self.iv, &bound_to(self.header, place), self.ciphertext, self.tag)
    }
}

/// Seals `plain` under `key`. `key_id` is at most 255 bytes, which the keyring sees to.
pub(super) fn close(key_id: &str, key: &Key, place: &Place<'_>, iv: [u8; IV_BYTES], plain: &[u8]) -> Vec<u8> {
    let mut stored = vec![VERSION, u8::try_from(key_id.len()).unwrap_or(u8::MAX)];
    stored.extend_from_slice(key_id.as_bytes());
    let (ciphertext, tag) = key.encrypt(&iv, &bound_to(&stored, place), plain);
    stored.extend_from_slice(&iv);
    stored.extend_from_slice(&ciphertext);
    stored.extend_from_slice(&tag);
    stored
}

/// The authenticated data: each part behind its length, so that no two places read the same.
fn bound_to(header: &[u8], place: &Place<'_>) -> Vec<u8> {
    let tenant = place.tenant.map(|t| t.0.into_bytes());
    let parts: [&[u8]; 5] = [
        header,
        tenant.as_ref().map_or(&[], |t| t.as_slice()),
        place.table.as_bytes(),
        place.column.as_bytes(),
        place.row.as_bytes(),
    ];
    let mut aad = Vec::with_capacity(parts.iter().map(|p| p.len() + 8).sum());
    for part in parts {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part);
    }
    aad
}
