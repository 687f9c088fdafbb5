//! Puts what was noted into the chains.

use rules::audit::{Head, Link, next_hash};
use rules::id::TenantId;
use sqlx::PgConnection;

use super::store;
use crate::Result;

/// The most entries that one transaction chains, of all tenants together.
pub const FLUSH_MAX: usize = 1_000;

/// What a flush came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flushed {
    /// How many entries were chained.
    pub entries: usize,
    /// Whether there may be more.
    pub more: bool,
}

/// Chains what was noted, at most [`FLUSH_MAX`] entries. The chains are held until the commit, in ascending order of
/// their tenants, so that two flushes wait for each other and never block one another.
///
/// # Errors
/// Internal when what is stored does not read back, or there is no month to write into; Unavailable when nobody
/// answers.
pub async fn flush(conn: &mut PgConnection) -> Result<Flushed> {
    let mut flushed = Flushed::default();
    let mut after = None;
    while let Some(tenant) = store::next_noted(conn, after).await? {
        let room = FLUSH_MAX - flushed.entries;
        let chained = chain(conn, tenant, room).await?;
        flushed.entries += chained;
        if chained == room {
            flushed.more = true;
            break;
        }
        after = Some(tenant);
    }
    Ok(flushed)
}

/// Chains the oldest notes of one tenant.
async fn chain(conn: &mut PgConnection, tenant: TenantId, room: usize) -> Result<usize> {
    let (mut head, kept_at) = store::hold_chain(conn, tenant).await?;
    // Drawn by a statement of its own once the chain is held: it sees what the holder before left.
    let entries = store::draw(conn, tenant, i64::try_from(room).unwrap_or(i64::MAX)).await?;
    if entries.is_empty() {
        return Ok(0);
    }
    let links: Vec<Link> = entries
        .into_iter()
        .map(|entry| {
            let seq = head.seq.saturating_add(1);
            let hash = next_hash(&head.hash, tenant, seq, kept_at, &entry);
            head = Head { seq, hash };
            Link { seq, kept_at, entry, hash }
        })
        .collect();
    store::append(conn, tenant, &links).await?;
    store::set_head(conn, tenant, head, kept_at).await?;
    Ok(links.len())
}
