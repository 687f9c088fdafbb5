//! Tests of `held`, and leases for the tests of others.

use jobs::queue::{Attempt, Settling};
use rules::queue::Priority;
use serde_json::value::RawValue;

use super::*;

/// An attempt as a claim makes it.
pub(crate) fn attempt(id: i64) -> Attempt {
    let now = chrono::DateTime::UNIX_EPOCH;
    Attempt {
        id: JobId(id),
        token: LeaseToken(uuid::Uuid::from_u128(id.unsigned_abs().into())),
        kind: Kind::Noop,
        pool: Pool::Maintenance,
        keyed: false,
        tenant: None,
        priority: Priority::Medium,
        payload: RawValue::from_string("{}".into()).unwrap(),
        attempt: 1,
        crashes: 0,
        max_attempts: 3,
        trace_parent: None,
        ready_at: now,
        claimed_at: now,
        cancel: CancellationToken::new(),
        settling: Settling::default(),
    }
}

pub(crate) fn held() -> Held {
    Held::new(&[Post { pool: Pool::Maintenance, slots: 1 }])
}

#[tokio::test]
async fn large_payloads_leave_less_room_until_they_are_through() {
    let held = held();
    let all = held.room();
    assert_eq!(usize::try_from(all).unwrap() * MAX_PAYLOAD_BYTES, MAX_PAYLOADS_BYTES);
    let large = |id| {
        let payload = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES - 2));
        Attempt { payload: RawValue::from_string(payload).unwrap(), ..attempt(id) }
    };
    let taken: Vec<Attempt> = (0..i64::from(all)).map(large).collect();
    taken.iter().for_each(|attempt| held.take(attempt, Since::claimed(Instant::now())));
    assert_eq!(held.room(), 0);
    held.unload(&taken[0]);
    assert_eq!(held.room(), 1);
    held.freed.notified().await;
    taken[1..].iter().for_each(|attempt| held.unload(attempt));
    assert_eq!(held.room(), all);
}

#[test]
fn a_kept_slot_is_not_free_until_it_is_let_go_or_acknowledging_stalls() {
    let (held, pool) = (held(), Pool::Maintenance);
    held.open(pool, true);
    held.take(&attempt(1), Since::claimed(Instant::now()));
    held.keep(pool);
    assert_eq!(held.wanted(pool), Wanted::None);
    held.stall(true);
    assert_eq!(held.wanted(pool), Wanted::Many(1));
    held.stall(false);
    assert_eq!(held.wanted(pool), Wanted::None);
    held.let_go(pool);
    assert_eq!(held.wanted(pool), Wanted::Many(1));
}

#[test]
fn a_lease_that_is_settled_is_not_lost() {
    let (held, now) = (held(), Instant::now());
    let (lost, settled) = (attempt(1), attempt(2));
    held.take(&lost, Since::claimed(now));
    held.take(&settled, Since::claimed(now));
    settled.settling.set();
    assert!(held.lose(lost.id, lost.token));
    assert!(!held.lose(lost.id, lost.token), "it is told once");
    assert!(!held.lose(settled.id, settled.token));
    assert!(lost.cancel.is_cancelled() && !settled.cancel.is_cancelled());
    assert_eq!(held.stop_expiring(now + lease()), 0);
    assert!(!settled.cancel.is_cancelled());
}
