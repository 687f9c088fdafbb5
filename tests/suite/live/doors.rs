//! Who may listen, and what the handshake and the messages must be.

use serde_json::{Value, json};
use tests::http::send;
use tests::{Came, Database, Door, Stream, Talk, wait};

use super::again::{host, machine};
use super::listen::{DEPARTMENT, department, rename};
use crate::api_identity::{join, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_may_not_read_they_do_not_hear() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let eve = door.user("eve@example.org", "USER").await;
    join(&admin, &other, "eve@example.org", "ADMIN").await;
    let id = department(&admin, &acme, "D").await;
    let key = "mutation($t: ID!, $s: [String!]) { createApiKey(tenant: $t, title: \"K\", role: ADMIN, scopes: $s) { secret } }";
    let narrow = admin.ok(key, json!({"t": acme, "s": ["tenant:workflow:read"]})).await;
    let narrow = door.nobody().with_key(narrow["createApiKey"]["secret"].as_str().unwrap());
    let own = "subscription { userEvents { name } }";
    for (client, query, asked, code) in [
        (&eve, DEPARTMENT, json!({"t": acme, "id": id}), "NOT_FOUND"),
        (&eve, DEPARTMENT, json!({"t": other, "id": id}), "NOT_FOUND"),
        (&narrow, DEPARTMENT, json!({"id": id}), "FORBIDDEN"),
        (&narrow, own, json!({}), "FORBIDDEN"),
        (&door.nobody(), DEPARTMENT, json!({"t": acme, "id": id}), "UNAUTHENTICATED"),
        (&admin, DEPARTMENT, json!({"t": acme, "id": id, "a": "7"}), "BAD_USER_INPUT"),
        (&admin, DEPARTMENT, json!({"t": acme, "id": id, "a": "9:9000000000000:"}), "CONFLICT"),
    ] {
        let mut talk = Talk::open(client).await;
        talk.subscribe("1", query, asked.clone()).await;
        match talk.next().await {
            Came::Message(message) => {
                assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("1")), "{message}");
                assert_eq!(message["payload"][0]["extensions"]["code"], code, "{asked}: {message}");
            }
            Came::Closed(..) => panic!("closed"),
        }
        // The connection goes on, and its id is free again.
        talk.say(json!({"type": "ping"})).await;
        assert_eq!(talk.next().await, Came::Message(json!({"type": "pong"})));
        let told = client.ask(query, asked.clone()).await.json();
        assert_eq!(told["errors"][0]["extensions"]["code"], code, "{asked}: {told}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_comes_together_each_hears_what_they_may_read() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let id = department(&admin, &acme, "D").await;
    let mut conn = database.connect().await;
    host(&mut conn).await;
    let key = "mutation($t: ID!, $s: [String!]) { createApiKey(tenant: $t, title: \"K\", role: ADMIN, scopes: $s) { secret } }";
    let looked = "insert into machine_health (machine_id, tenant_id, wanted, seen, host_answers)
        select id, tenant_id, wanted, seen, true from machine where name = $1";
    let health = "insert into health_snapshot (machine_id, tenant_id, name, verdict, detail, figures, checked_at, since, took_ms)
        select id, tenant_id, 'STATE', 'WARNING', '', '{}', now(), now(), 1 from machine where name = $1";
    for (scopes, expected) in [
        (vec!["department"], vec!["departments:update"]),
        (vec!["department", "machine"], vec!["vms:create", "departments:update"]),
        (
            vec!["department", "machine", "health"],
            vec!["vms:create", "health:health_check", "departments:update"],
        ),
    ] {
        let name = scopes.len().to_string();
        let scopes: Vec<String> = scopes.iter().map(|scope| format!("tenant:{scope}:read")).collect();
        let secret = admin.ok(key, json!({"t": acme, "s": scopes})).await["createApiKey"]["secret"].clone();
        let client = door.nobody().with_key(secret.as_str().unwrap());
        let mut talk = Talk::open(&client).await;
        talk.subscribe("1", DEPARTMENT, json!({"id": id})).await;
        let joined = talk.event("departmentEvents").await;
        machine(&mut conn, &id, &name).await;
        for statement in [looked, health] {
            sqlx::query(statement).bind(&name).execute(&mut conn).await.unwrap();
        }
        rename(&admin, &acme, &id, &name).await;
        // As it happens, and when it is made up for.
        talk.subscribe("2", DEPARTMENT, json!({"id": id, "a": joined["cursor"]})).await;
        let mut told: [Vec<Value>; 2] = Default::default();
        while told.iter().any(|names| names.len() < expected.len()) {
            let Came::Message(message) = talk.next().await else { panic!("closed") };
            let name = message["payload"]["data"]["departmentEvents"]["name"].clone();
            told[usize::from(message["id"] == "2")].push(name);
        }
        assert_eq!(told.map(Value::from), [json!(expected), json!(expected)], "{scopes:?}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_one_field_and_sent_where_answers_can_follow_each_other() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let mut talk = Talk::open(&admin).await;
    for (query, words) in [
        ("subscription { a: userEvents { name } b: userEvents { name } }", "one field"),
        ("subscription { __typename }", "names its field itself"),
        (
            "subscription { ...f } fragment f on Subscription { userEvents { name } }",
            "names its field itself",
        ),
        ("{ me { user { id } } }", "sent by POST"),
        ("mutation { logout }", "sent by POST"),
        ("subscription { dropEverything }", "nobody may do this"),
    ] {
        talk.subscribe("1", query, json!({})).await;
        let Came::Message(told) = talk.next().await else { panic!("closed") };
        assert!(told["type"] == "error" && told.to_string().contains(words), "{query}: {told}");
    }
    // A query may be answered as a stream, too.
    let body = br#"{"query":"{ __typename }"}"#;
    let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let answer = send(door.address, "POST", "/graphql", &headers, body).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(
        answer.text.contains("event: next\ndata: {\"data\":{\"__typename\":\"Query\"}}\n\n"),
        "{answer:?}"
    );
    assert!(answer.text.contains("event: complete\n"), "{answer:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn breaches_of_the_protocol_have_its_codes() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let init = json!({"type": "connection_init"});
    let bad = json!({"type": "connection_init", "payload": {"Authorization": "Bearer x"}});
    let own =
        json!({"id": "1", "type": "subscribe", "payload": {"query": "subscription { userEvents { name } }"}});
    for (said, code) in [
        (vec![json!("hello")], 4400),
        (vec![own.clone()], 4401),
        (vec![bad], 4401),
        (vec![init.clone(), init], 4429),
    ] {
        let mut talk = Talk::shake(door.address, &[]).await.unwrap_or_else(|status| panic!("{status}"));
        for message in &said {
            talk.say(message.clone()).await;
        }
        assert_eq!(closed(&mut talk).await, code, "{said:?}");
    }
    let mut talk = Talk::open(&admin).await;
    talk.say(own.clone()).await;
    talk.say(own).await;
    assert_eq!(closed(&mut talk).await, 4409);
    let own_page = format!("http://{}", door.address);
    for (headers, status) in [
        (vec![("origin", "https://evil.example")], Some(403)),
        (vec![("sec-websocket-protocol", "graphql-ws")], Some(400)),
        (vec![("origin", own_page.as_str())], None),
    ] {
        assert_eq!(Talk::shake(door.address, &headers).await.err(), status, "{headers:?}");
    }
    let get = send(door.address, "GET", "/graphql?query={__typename}", &[], b"").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    door.close().await;
}

async fn closed(talk: &mut Talk) -> u16 {
    loop {
        if let Came::Closed(code, _) = talk.next().await {
            return code;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_an_end_to_what_one_may_hold() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| {
        config.limits.subscriptions = 3;
        config.limits.subscriptions_each = 5;
        config.limits.live_connections_each = 2;
    })
    .await;
    let admin = door.admin().await;
    let (mut first, mut second) = (Talk::open(&admin).await, Talk::open(&admin).await);
    let own = "subscription { userEvents { name } }";
    let refused = |came: Came| match came {
        Came::Message(m) => m["payload"][0]["extensions"]["code"] == "RATE_LIMITED",
        Came::Closed(..) => false,
    };
    for n in 0..3 {
        first.subscribe(&n.to_string(), own, json!({})).await;
        assert_eq!(first.event("userEvents").await["name"], "joined");
    }
    first.subscribe("4", own, json!({})).await;
    assert!(refused(first.next().await));
    for n in 0..2 {
        second.subscribe(&n.to_string(), own, json!({})).await;
        assert_eq!(second.event("userEvents").await["name"], "joined");
    }
    second.subscribe("3", own, json!({})).await;
    assert!(refused(second.next().await));
    let told = admin.ask(own, Value::Null).await.json();
    assert_eq!(told["errors"][0]["extensions"]["code"], "RATE_LIMITED", "{told}");
    drop(second);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_leave_connections_to_requests() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| {
        config.limits.live_streams = 1;
        config.limits.live_connections = 1;
    })
    .await;
    let admin = door.admin().await;
    let own = "subscription { userEvents { name } }";
    let mut stream = Stream::open(&admin, own, json!({})).await;
    assert_eq!(stream.next().await.unwrap()["data"]["userEvents"]["name"], "joined");
    let told = admin.ask(own, Value::Null).await.json();
    assert_eq!(told["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{told}");
    let talk = Talk::open(&admin).await;
    assert_eq!(Talk::shake(door.address, &[]).await.err(), Some(503));
    admin.ok("{ me { user { id } } }", json!({})).await;
    // Who goes leaves room.
    drop((stream, talk));
    wait::until("there is room again", || async {
        let mut again = Stream::open(&admin, own, json!({})).await;
        again.next().await.is_some_and(|told| told["data"]["userEvents"]["name"] == "joined")
    })
    .await;
    door.close().await;
}
