//! What the door of a listener takes and what it refuses.

use futures::future::join_all;
use jobs::listener;
use rules::id::ListenerId;
use rules::listener::NOTICE_BYTES_MAX;
use rules::signature::{self, Secret};
use serde_json::json;
use tests::http::{Answer, send};

use super::house::{Ear, House, now_s, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_sent_at_the_same_time_are_one() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let event = json!({ "a": 1 });
    let answers = join_all((0..20).map(|_| house.send(&ear, "msg_1", &event))).await;
    assert!(answers.iter().all(|a| a.status == 202), "{answers:?}");
    let fresh = answers.iter().filter(|a| a.json().get("duplicate").is_none()).count();
    let ids: std::collections::BTreeSet<String> =
        answers.iter().map(|a| a.json()["noticeId"].to_string()).collect();
    assert_eq!((fresh, ids.len()), (1, 1), "{answers:?}");
    assert_eq!((house.count("notice").await, house.count("job").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_rightly_is_refused_and_not_stored() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let other = house.listen("other", json!([])).await;
    let body = br#"{"a":1}"#;
    let now = now_s();
    let post = async |id: &str, at: u64, signature: &str| {
        let at = at.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", id),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signature),
        ];
        house.door.post(&ear.address, &headers, body).await
    };
    let sign = |ear: &Ear, at: u64| signature::sign(&ear.secret, "msg_1", at, body).unwrap();
    let cases = [
        ("another listener's secret", post("msg_1", now, &sign(&other, now)).await),
        ("another id", post("msg_2", now, &sign(&ear, now)).await),
        ("another time", post("msg_1", now + 1, &sign(&ear, now)).await),
        ("stale", post("msg_1", now - 400, &sign(&ear, now - 400)).await),
        ("from the future", post("msg_1", now + 400, &sign(&ear, now + 400)).await),
        ("no signature", house.door.post(&ear.address, &[("content-type", "application/json")], body).await),
    ];
    for (what, answer) in &cases {
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert_eq!(answer.json()["status"], 401, "{what}");
    }
    assert_eq!((house.count("notice").await, house.count("job").await), (0, 0));
    // The same words, signed rightly, are taken: an old key beside the new one does no harm.
    let both = format!("{} {}", sign(&other, now), sign(&ear, now));
    assert_eq!(post("msg_1", now, &both).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stands_twice_is_refused_and_nothing_stored() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let answer = house.send_raw(&ear, "msg_1", br#"{"a":1,"b":{"c":1,"c":2}}"#).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(
        answer.text.contains("the key `c` stands twice") && answer.text.contains("send the key once"),
        "{answer:?}"
    );
    assert_eq!((house.count("notice").await, house.count("job").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_deliveries_have_their_answers_and_change_nothing() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    tenant(&house.db, "globex").await;
    let strange = |address: &str| Ear {
        address: address.into(),
        listener: ear.listener.clone(),
        secret: ear.secret.clone(),
    };
    let event = json!({ "a": 1 });
    let unknown = house.send(&strange("/hooks/acme/nothing"), "m", &event).await;
    let foreign = house.send(&strange("/hooks/globex/orders"), "m", &event).await;
    let nowhere = house.send(&strange("/hooks/nobody/orders"), "m", &event).await;
    let no_text = house.send(&strange("/hooks/%ff/orders"), "m", &event).await;
    let mut forger = strange(&ear.address);
    forger.secret = Secret::of(&[7; 64]);
    let forged = house.send(&forger, "m", &event).await;
    assert_eq!(forged.status, 401);
    for answer in [&unknown, &foreign, &nowhere, &no_text] {
        assert_eq!((answer.status, answer), (401, &forged), "nobody learns who listens where");
    }
    let large = format!("\"{}\"", "x".repeat(300 * 1024));
    assert_eq!(house.send_raw(&ear, "m", large.as_bytes()).await.status, 413);
    let huge = format!("\"{}\"", "x".repeat(10 << 20));
    assert_eq!(house.send_raw(&ear, "m", huge.as_bytes()).await.status, 413);
    for bad in [&b""[..], b"{", b"not json", b"{\"a\":1e999}", b"\"a\\u0000b\"", b"\xff"] {
        assert_eq!(house.send_raw(&ear, "m", bad).await.status, 400, "{bad:?}");
    }
    // Deeper than we take, and deeper than is read at all.
    for levels in [40, 2_000] {
        let deep = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let answer = house.send_raw(&ear, "m", deep.as_bytes()).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text.contains("nested more than 32 levels deep"), "{answer:?}");
    }
    let signed = signature::sign(&ear.secret, "m", now_s(), b"1").unwrap();
    let at = now_s().to_string();
    let plain =
        [("webhook-id", "m"), ("webhook-timestamp", at.as_str()), ("webhook-signature", signed.as_str())];
    assert_eq!(house.door.post(&ear.address, &plain, b"1").await.status, 415);
    let mut conn = house.db.acquire().await.unwrap();
    let id = ListenerId(ear.listener.id);
    assert!(!listener::set_active(&mut conn, house.tenant, id, false).await.unwrap().active);
    assert_eq!(house.send(&ear, "m", &event).await.status, 409);
    assert_eq!((house.count("notice").await, house.count("job").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_moved_to_another_row_opens_nothing() {
    let house = House::new().await;
    let (mine, theirs) = (house.listen("mine", json!([])).await, house.listen("theirs", json!([])).await);
    sqlx::query("update listener set secret = (select secret from listener where id = $1) where id = $2")
        .bind(mine.listener.id)
        .bind(theirs.listener.id)
        .execute(&house.db)
        .await
        .unwrap();
    let forged = Ear { address: theirs.address, ..mine };
    assert_eq!(house.send(&forged, "m", &json!(1)).await.status, 500);
    assert_eq!(house.count("notice").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_secret_cannot_tell_where_somebody_listens() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let off = house.listen("off", json!([])).await;
    let mut conn = house.db.acquire().await.unwrap();
    let id = ListenerId(off.listener.id);
    listener::set_active(&mut conn, house.tenant, id, false).await.unwrap();
    let stranger = house.listen("stranger", json!([])).await.secret;
    let (body, now) = (br#"{"a":1}"#, now_s());
    let (at, stale) = (now.to_string(), (now - 400).to_string());
    let signed = signature::sign(&stranger, "m", now, body).unwrap();
    let json = ("content-type", "application/json");
    let attempts: [Vec<(&str, &str)>; 6] = [
        vec![json],
        vec![("content-type", "text/plain")],
        vec![json, ("webhook-id", "m"), ("webhook-timestamp", &at), ("webhook-signature", &signed)],
        vec![json, ("webhook-id", "m"), ("webhook-timestamp", &stale), ("webhook-signature", &signed)],
        vec![json, ("webhook-id", "m"), ("webhook-timestamp", &at), ("webhook-signature", "v1,AAAA")],
        vec![json, ("webhook-id", "a.b"), ("webhook-timestamp", &at), ("webhook-signature", &signed)],
    ];
    for headers in &attempts {
        let at_ear = house.door.post(&ear.address, headers, body).await;
        assert_eq!(at_ear.status, 401, "{headers:?}: {at_ear:?}");
        for address in ["/hooks/acme/off", "/hooks/acme/nothing", "/hooks/nobody/orders", "/hooks/a%20b/%00"]
        {
            let elsewhere = house.door.post(address, headers, body).await;
            assert_eq!(elsewhere, at_ear, "{address}: {headers:?}");
            let names = |answer: &Answer| answer.headers.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
            assert_eq!(names(&elsewhere), names(&at_ear), "{address}");
        }
    }
    // Nor does the count of refusals tell, which anybody may read.
    let metrics = send(house.door.address, "GET", "/metrics", &[], b"").await.text;
    assert!(!metrics.contains("outcome=\"unknown\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_problem_details_with_an_id() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let at = house.door.address;
    let large = vec![b'x'; NOTICE_BYTES_MAX + 1];
    let refusals = [
        (401, house.door.post("/hooks/%ff/p", &[], b"{}").await),
        (401, house.door.post("/hooks/acme/%ff", &[], b"{}").await),
        (401, house.door.post("/hooks/%c3%28/%ff", &[], b"{}").await),
        (401, house.door.post(&ear.address, &[], b"{}").await),
        (404, send(at, "GET", "/%ff", &[], b"").await),
        (404, send(at, "POST", "/hooks/acme", &[], b"").await),
        (404, send(at, "POST", "/hooks/acme/orders/more", &[], b"").await),
        (405, send(at, "GET", "/hooks/acme/orders", &[], b"").await),
        (405, send(at, "PUT", "/graphql", &[], b"").await),
        (405, send(at, "POST", "/livez", &[], b"").await),
        (
            406,
            house
                .door
                .post("/graphql", &[("content-type", "application/json"), ("accept", "a/b")], b"{}")
                .await,
        ),
        (413, house.door.post(&ear.address, &[], &large).await),
        (415, house.door.post("/graphql", &[], b"{}").await),
    ];
    for (status, answer) in refusals {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
        assert_eq!(answer.json()["status"], status, "{answer:?}");
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_grows_when_it_is_kept_is_measured_as_kept() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    // Five bytes each as sent, nineteen as kept.
    let grows = format!("[{}1]", "1e15,".repeat(20_000));
    let answer = house.send_raw(&ear, "m", grows.as_bytes()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.text.contains("written out"), "{answer:?}");
    assert_eq!((house.count("notice").await, house.count("job").await), (0, 0));
}
