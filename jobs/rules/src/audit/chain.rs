//! The chain of a tenant's entries: each has a hash over itself and the hash of the one before it.
//!
//! Whoever changes, takes away, puts in or moves an entry changes every hash from there on. What a chain alone
//! cannot show is that its end was cut off, or all of it written anew, by somebody who may write the recorded end
//! as well: that is seen by an end that was kept elsewhere.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::Entry;
use crate::id::TenantId;

/// The bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// A hash of SHA-256; all zeros before the first entry.
pub type Hash = [u8; HASH_BYTES];

/// What every hashed text begins with: another form gets another number.
const FORM: &[u8] = b"millrace.audit.1";

/// The length that stands for nothing, which is not the same as an empty text.
const NOTHING: u32 = u32::MAX;

/// An entry at its place in a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its number; the first is 1, and there are no gaps.
    pub seq: i64,
    /// When it was put into the chain, by the database's clock; never before the one before it.
    pub kept_at: DateTime<Utc>,
    /// What it tells.
    pub entry: Entry,
    /// Its hash.
    pub hash: Hash,
}

/// Where a chain ends, as recorded beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last entry; 0 before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
}

/// A text that is no end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an end is a number, a colon and 64 hexadecimal digits, as `millrace audit verify` prints it")]
pub struct BadHead;

/// A hash as people and programs are shown it.
pub fn hex_of(hash: &Hash) -> String {
    hex::encode(hash)
}

/// As it is kept elsewhere: `<number>:<hash>`.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex_of(&self.hash))
    }
}

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let (seq, hash) = text.split_once(':').ok_or(BadHead)?;
        let mut bytes = [0; HASH_BYTES];
        hex::decode_to_slice(hash, &mut bytes).map_err(|_| BadHead)?;
        Ok(Self { seq: seq.parse().map_err(|_| BadHead)?, hash: bytes })
    }
}

/// The last entry that is no longer kept: what is left goes on from here.
pub type Anchor = Head;

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// The number of the entry.
    pub seq: i64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with an entry of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there, and later ones are.
    Missing,
    /// It is not as it was written, or not at its place.
    Altered,
    /// It and all after it are not there, though the recorded end says that they were written.
    CutOff,
    /// It is there, and the recorded end comes before it.
    Beyond,
    /// It has another hash than an end that was kept elsewhere says.
    Rewritten,
    /// It was to be compared with an end that was kept elsewhere, and is so old that it was dropped.
    BeforeKept,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::Altered => "is not as it was written",
            Self::CutOff => "and all after it were cut off",
            Self::Beyond => "stands behind the recorded end",
            Self::Rewritten => "has another hash than the one that was kept",
            Self::BeforeKept => "lies before what is kept",
        })
    }
}

/// The hash of an entry at its place.
pub fn next_hash(before: &Hash, tenant: TenantId, seq: i64, kept_at: DateTime<Utc>, entry: &Entry) -> Hash {
    let mut digest = Sha256::new();
    digest.update(before);
    digest.update(FORM);
    let mut put = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(NOTHING, |b| u32::try_from(b.len()).unwrap_or(NOTHING - 1));
        digest.update(length.to_be_bytes());
        digest.update(bytes.unwrap_or_default());
    };
    put(Some(tenant.0.as_bytes()));
    put(Some(&seq.to_be_bytes()));
    put(Some(&kept_at.timestamp_micros().to_be_bytes()));
    put(Some(&entry.at.timestamp_micros().to_be_bytes()));
    put(Some(entry.actor.as_bytes()));
    put(Some(entry.operation.as_bytes()));
    put(Some(entry.arguments.as_bytes()));
    put(Some(entry.outcome.as_str().as_bytes()));
    put(entry.code.as_deref().map(str::as_bytes));
    put(Some(&entry.took_ms.to_be_bytes()));
    put(entry.address.as_deref().map(str::as_bytes));
    put(entry.request_id.as_deref().map(str::as_bytes));
    digest.finalize().into()
}

/// A walk along a chain, from its anchor to its end.
#[derive(Debug, Clone)]
pub struct Walk {
    tenant: TenantId,
    at: Anchor,
}

impl Walk {
    /// Begins behind the anchor.
    pub fn from(tenant: TenantId, anchor: Anchor) -> Self {
        Self { tenant, at: anchor }
    }

    /// How far it came.
    pub fn at(&self) -> Head {
        self.at
    }

    /// Takes the next link.
    ///
    /// # Errors
    /// [`Broken`] with the entry at which the chain breaks, which may be one that is not there.
    pub fn step(&mut self, link: &Link) -> Result<(), Broken> {
        let expected = self.at.seq.saturating_add(1);
        if link.seq > expected {
            return Err(Broken { seq: expected, fault: Fault::Missing });
        }
        let hash = next_hash(&self.at.hash, self.tenant, link.seq, link.kept_at, &link.entry);
        if link.seq < expected || link.entry.tenant != self.tenant || hash != link.hash {
            return Err(Broken { seq: link.seq, fault: Fault::Altered });
        }
        self.at = Head { seq: link.seq, hash };
        Ok(())
    }

    /// Compares where it came to with the recorded end.
    ///
    /// # Errors
    /// [`Broken`] when entries are missing before it or stand behind it, or its hash is another.
    pub fn end(&self, head: Head) -> Result<(), Broken> {
        let next = self.at.seq.saturating_add(1);
        match self.at.seq.cmp(&head.seq) {
            std::cmp::Ordering::Less => Err(Broken { seq: next, fault: Fault::CutOff }),
            std::cmp::Ordering::Greater => {
                Err(Broken { seq: head.seq.saturating_add(1), fault: Fault::Beyond })
            }
            std::cmp::Ordering::Equal if self.at.hash != head.hash => {
                Err(Broken { seq: head.seq, fault: Fault::Altered })
            }
            std::cmp::Ordering::Equal => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::Outcome;
    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(7));

    fn entry(n: i64) -> Entry {
        Entry {
            tenant: TENANT,
            at: DateTime::from_timestamp_micros(1_000_000 * n).unwrap(),
            actor: "user:1".into(),
            operation: "createWorkflow".into(),
            arguments: format!("{{\"n\":{n}}}"),
            outcome: Outcome::Accepted,
            code: None,
            took_ms: 3,
            address: Some("192.0.2.1".into()),
            request_id: None,
        }
    }

    fn chain(length: i64) -> Vec<Link> {
        let mut before = [0; HASH_BYTES];
        (1..=length)
            .map(|seq| {
                let (entry, kept_at) =
                    (entry(seq), DateTime::from_timestamp_micros(2_000_000 * seq).unwrap());
                before = next_hash(&before, TENANT, seq, kept_at, &entry);
                Link { seq, kept_at, entry, hash: before }
            })
            .collect()
    }

    fn verified(links: &[Link], head: Head) -> Result<(), Broken> {
        let mut walk = Walk::from(TENANT, Anchor { seq: 0, hash: [0; HASH_BYTES] });
        links.iter().try_for_each(|link| walk.step(link))?;
        walk.end(head)
    }

    fn head(links: &[Link]) -> Head {
        links.last().map_or(Head { seq: 0, hash: [0; HASH_BYTES] }, |l| Head { seq: l.seq, hash: l.hash })
    }

    #[test]
    fn a_hash_is_the_same_for_ever() {
        // What was written by an earlier version must verify with every later one.
        let known = "c96267e2";
        let hash = chain(1)[0].hash;
        assert_eq!(hex::encode(&hash[..4]), known);
    }

    #[test]
    fn an_end_reads_back() {
        let end = head(&chain(3));
        assert_eq!(end.to_string().parse(), Ok(end));
        for bad in ["", "3", "3:", "3:ab", "x:00", &format!("{end}0")] {
            assert_eq!(bad.parse::<Head>(), Err(BadHead), "{bad}");
        }
    }

    #[test]
    fn nothing_and_an_empty_text_are_two_things() {
        let (mut a, mut b) = (entry(1), entry(1));
        (a.code, b.code) = (None, Some(String::new()));
        let hash = |e: &Entry| next_hash(&[0; HASH_BYTES], TENANT, 1, e.at, e);
        assert_ne!(hash(&a), hash(&b));
        // What one field gains the next may not lose unseen.
        (a.actor, a.operation) = ("ab".into(), "c".into());
        (b.actor, b.operation, b.code) = ("a".into(), "bc".into(), None);
        assert_ne!(hash(&a), hash(&b));
    }

    proptest! {
        #[test]
        fn every_change_is_named_at_its_place(length in 3i64..20, at in 0usize..18, what in 0usize..12) {
            let good = chain(length);
            let end = head(&good);
            prop_assert_eq!(verified(&good, end), Ok(()));
            let at = at % (good.len() - 1);
            let mut links = good.clone();
            let e = &mut links[at].entry;
            let seq = at as i64 + 1;
            let expected = match what {
                0 => { e.actor.push('x'); Fault::Altered }
                1 => { e.operation = "login".into(); Fault::Altered }
                2 => { e.arguments = "{}".into(); Fault::Altered }
                3 => { e.outcome = Outcome::Refused; Fault::Altered }
                4 => { e.code = Some("FORBIDDEN".into()); Fault::Altered }
                5 => { e.took_ms += 1; Fault::Altered }
                6 => { e.address = None; Fault::Altered }
                7 => { e.request_id = Some("r".into()); Fault::Altered }
                8 => { links[at].hash[0] ^= 1; Fault::Altered }
                9 => { links.remove(at); Fault::Missing }
                10 => {
                    // Two entries change places and keep their numbers.
                    let (a, b) = (links[at].entry.clone(), links[at + 1].entry.clone());
                    (links[at].entry, links[at + 1].entry) = (b, a);
                    Fault::Altered
                }
                _ => { links.truncate(at); Fault::CutOff }
            };
            prop_assert_eq!(verified(&links, end), Err(Broken { seq, fault: expected }));
            // What is put in behind the recorded end.
            let short = head(&good[..at]);
            prop_assert_eq!(verified(&good, short), Err(Broken { seq, fault: Fault::Beyond }));
        }
    }
}
