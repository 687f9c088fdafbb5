//! What a notice's row says when it goes through its pipeline more than once.

use jobs::listener;
use jobs::listener::notice::store as notices;
use jobs::listener::notice::{Notice, NoticeState};
use rules::id::{NoticeId, TenantId};
use serde_json::{Value, json};
use tests::wait;
use uuid::Uuid;

use crate::listener::House;

/// A notice of a house, and whose it is.
async fn heard(house: &House) -> (TenantId, NoticeId) {
    let ear = house.listen("orders", json!([])).await;
    let id = house.accepted(&ear, "msg_1", &json!({ "n": 1 })).await;
    let tenant: Uuid = sqlx::query_scalar("select tenant_id from notice").fetch_one(&house.db).await.unwrap();
    (TenantId(tenant), id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_time_through_does_not_speak_for_a_later_one() {
    let house = House::new().await;
    let (tenant, id) = heard(&house).await;
    let mut conn = house.db.acquire().await.unwrap();
    let (time, _) = listener::replay(&mut conn, tenant, id, None).await.unwrap();
    assert_eq!(time, 1);
    let said = |notice: Notice| (notice.state, notice.transformed);

    // The first time ends while the second waits: what its actions need is kept aside, and it says nothing.
    let first = json!("first");
    notices::settle(&mut conn, id, 0, NoticeState::Dispatched, Some(&first)).await.unwrap();
    let waits = notices::get(&mut conn, tenant, id).await.unwrap();
    assert_eq!(waits.settled_at, None);
    assert_eq!(said(waits), ("RECEIVED".into(), None));
    assert_eq!(notices::event_of_pass(&mut conn, id, 0).await.unwrap(), Some(first.clone()));

    // The second ends, and then the first comes once more, as after a redrive.
    let second = json!("second");
    notices::settle(&mut conn, id, 1, NoticeState::Dispatched, Some(&second)).await.unwrap();
    notices::settle(&mut conn, id, 0, NoticeState::Dropped, Some(&Value::Null)).await.unwrap();
    let ended = notices::get(&mut conn, tenant, id).await.unwrap();
    assert_eq!(said(ended), ("DISPATCHED".into(), Some(second.clone())));

    // The third dies; that the first succeeds at last does not undo it.
    listener::replay(&mut conn, tenant, id, None).await.unwrap();
    notices::bury(&mut conn, id, 2, "no luck").await.unwrap();
    notices::settle(&mut conn, id, 0, NoticeState::Dispatched, Some(&first)).await.unwrap();
    let dead = notices::get(&mut conn, tenant, id).await.unwrap();
    assert_eq!(dead.error.as_deref(), Some("no luck"));
    assert_eq!(said(dead), ("DEAD".into(), Some(second.clone())));
    // Each time's actions see what that time made of the event.
    assert_eq!(notices::event_of_pass(&mut conn, id, 0).await.unwrap(), Some(first));
    assert_eq!(notices::event_of_pass(&mut conn, id, 1).await.unwrap(), Some(second));
    wait::until("both jobs are there", || async { house.count("job").await == 3 }).await;
}
