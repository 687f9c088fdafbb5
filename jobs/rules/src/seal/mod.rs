//! Secrets that must be readable again, sealed at rest.
//!
//! A sealed value is `version | length of key id | key id | IV | ciphertext | tag`, encrypted and then
//! authenticated by A256CBC-HS512 (RFC 7518, 5.2.5). What is authenticated besides the ciphertext is the
//! header and the [`Place`] the value stands in, so that a value copied to another row, column, table or
//! tenant does not open there.
//!
//! `cipher` is the algorithm, `envelope` the stored form, `keyring` the keys and where they come from.

mod cipher;
mod envelope;
mod keyring;

pub use cipher::{IV_BYTES, KEY_BYTES, Opened};
pub use envelope::{OpenError, Place};
pub use keyring::{KEY_ID_CHARS_MAX, KEYS_MAX, Keyring, KeyringFaults};
