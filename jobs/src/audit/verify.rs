//! Walks a chain from its beginning to its end, in batches.

use std::cmp::Ordering;

use rules::audit::{Broken, Fault, Head, Walk};
use rules::id::TenantId;

use super::look::{self, Ends};
use crate::Result;
use crate::db::PgPool;

/// The links that are read at once.
const BATCH: i64 = 500;

/// What a walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Entries that were looked at and hold.
    pub entries: i64,
    /// The last of them.
    pub head: Head,
    /// The first thing that is wrong, if anything is.
    pub broken: Option<Broken>,
}

/// Verifies a tenant's chain. With an end that was kept elsewhere, its hash must be found at its place, too; one
/// that lies before the oldest entry that is left cannot be compared, which is told as [`Fault::BeforeKept`].
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn verify(db: &PgPool, tenant: TenantId, kept: Option<Head>) -> Result<Verdict> {
    loop {
        let ends = look::ends(&mut *db.acquire().await?, tenant).await?;
        let verdict = walk(db, tenant, ends, kept).await?;
        let missing = matches!(verdict.broken, Some(Broken { fault: Fault::Missing | Fault::CutOff, .. }));
        if missing && look::ends(&mut *db.acquire().await?, tenant).await?.anchor != ends.anchor {
            // The oldest month was dropped meanwhile: begin where the chain begins now.
            continue;
        }
        return Ok(verdict);
    }
}

/// What is wrong with an end that was kept elsewhere and is none of the entries; with those the walk compares it.
fn apart(kept: Head, ends: Ends) -> Option<Broken> {
    if kept.seq > ends.head.seq {
        return Some(Broken { seq: ends.head.seq.saturating_add(1), fault: Fault::CutOff });
    }
    let fault = match kept.seq.cmp(&ends.anchor.seq) {
        Ordering::Less => Fault::BeforeKept,
        Ordering::Equal if kept.hash != ends.anchor.hash => Fault::Rewritten,
        Ordering::Equal | Ordering::Greater => return None,
    };
    Some(Broken { seq: kept.seq, fault })
}

async fn walk(db: &PgPool, tenant: TenantId, ends: Ends, kept: Option<Head>) -> Result<Verdict> {
    let mut walk = Walk::from(tenant, ends.anchor);
    let broken = loop {
        let after = walk.at().seq;
        let limit = BATCH.min(ends.head.seq.saturating_sub(after));
        if limit <= 0 {
            break None;
        }
        let links = look::links(&mut *db.acquire().await?, tenant, after, limit).await?;
        let stepped = links.iter().try_for_each(|(seq, link)| {
            let link = link.as_ref().ok_or(Broken { seq: *seq, fault: Fault::Altered })?;
            walk.step(link)?;
            match kept {
                Some(kept) if kept.seq == link.seq && kept.hash != link.hash => {
                    Err(Broken { seq: link.seq, fault: Fault::Rewritten })
                }
                _ => Ok(()),
            }
        });
        match stepped {
            Err(broken) => break Some(broken),
            Ok(()) if links.is_empty() => break None,
            Ok(()) => {}
        }
    };
    let beyond = ends.last.filter(|last| *last > ends.head.seq);
    let broken = broken
        .or_else(|| walk.end(ends.head).err())
        .or(beyond.map(|_| Broken { seq: ends.head.seq.saturating_add(1), fault: Fault::Beyond }))
        .or(kept.and_then(|kept| apart(kept, ends)));
    Ok(Verdict { entries: walk.at().seq - ends.anchor.seq, head: walk.at(), broken })
}
