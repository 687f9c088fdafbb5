//! An address, a user and a key may ask so often, are told where they stand, and are refused in the form of their door.

use api::RateLimit;
use serde_json::json;
use tests::http::{Answer, send};
use tests::{Client, Database, Door};

use crate::api_identity::tenant;

const ASK: &str = r#"{"query":"{ __typename }"}"#;

fn limit(text: &str) -> RateLimit {
    text.parse().unwrap()
}

/// What is left of each limit, by its name.
fn left(answer: &Answer) -> Vec<(String, u32)> {
    let told = answer.header("ratelimit").unwrap_or_else(|| panic!("it tells no limit: {answer:?}"));
    let of = |part: &str| {
        let (name, rest) = part.split_once(";r=").unwrap();
        (name.trim_matches('"').to_owned(), rest.split(';').next().unwrap().parse().unwrap())
    };
    told.split(", ").map(of).collect()
}

/// Whoever has asked too often reads so: in the form of the door, with the time after which to come back.
fn refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&after), "{answer:?}");
    let json = answer.json();
    if answer.header("content-type") == Some("application/problem+json") {
        assert_eq!((&json["code"], &json["status"]), (&json!("RATE_LIMITED"), &json!(429)));
        return;
    }
    let error = &json["errors"][0];
    assert_eq!(
        (&error["extensions"]["code"], &error["extensions"]["retryAfterS"]),
        (&json!("RATE_LIMITED"), &json!(after))
    );
    assert!(
        error["message"].as_str().unwrap().starts_with(&format!("too many requests {what}; ")),
        "{error}"
    );
    assert!(json.get("data").is_none(), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_asks_too_often_is_refused_at_every_door_but_the_probes() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| {
        config.limits.rates.address = limit("5/3600");
        config.trusted_proxies = "1".parse().unwrap();
    })
    .await;
    let from = async |address: &str, path: &str, accept: &str| {
        let headers =
            [("content-type", "application/json"), ("x-forwarded-for", address), ("accept", accept)];
        send(door.address, "POST", path, &headers, ASK.as_bytes()).await
    };
    let (plain, strict) = ("application/json", "application/graphql-response+json");
    for rest in (0..5).rev() {
        let answer = from("192.0.2.1", "/graphql", plain).await;
        assert_eq!((answer.status, left(&answer)), (200, vec![("address".into(), rest)]), "{answer:?}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"address\";q=5;w=3600"));
    }
    for (path, accept) in
        [("/graphql", plain), ("/graphql", strict), ("/hooks/a/b", plain), ("/nothing", plain)]
    {
        refused(&from("192.0.2.1", path, accept).await, "from this address");
    }
    // Another address has its own, a /64 of IPv6 one, and who watches the process is never kept out.
    assert_eq!(left(&from("192.0.2.2", "/graphql", plain).await), [("address".into(), 4)]);
    assert_eq!(left(&from("2001:db8::1", "/graphql", plain).await), [("address".into(), 4)]);
    assert_eq!(left(&from("2001:db8::2", "/graphql", plain).await), [("address".into(), 3)]);
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = send(door.address, "GET", path, &[("x-forwarded-for", "192.0.2.1")], b"").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None), "{path}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_key_have_limits_of_their_own() {
    let database = Database::new().await;
    let open = Door::open(&database).await;
    let admin = open.admin().await;
    let acme = tenant(&admin, "acme").await;
    let key = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", role: ADMIN) { secret } }";
    let secret = admin.ok(key, json!({"t": acme})).await["createApiKey"]["secret"].clone();
    let ada = open.user("ada@example.org", "USER").await;
    let narrow = Door::with(&database, |config| {
        config.limits.rates.address = RateLimit::Off;
        config.limits.rates.user = limit("3/3600");
        config.limits.rates.key = limit("2/3600");
    })
    .await;
    let program = narrow.nobody().with_key(secret.as_str().unwrap());
    let ask = async |client: &Client| client.ask("{ __typename }", json!({})).await;
    for (client, name, most, what) in
        [(&admin.to(&narrow), "user", 3, "of this user"), (&program, "key", 2, "of this API key")]
    {
        for rest in (0..most).rev() {
            let answer = ask(client).await;
            assert_eq!((answer.status, left(&answer)), (200, vec![(name.to_owned(), rest)]), "{answer:?}");
        }
        let answer = ask(client).await;
        refused(&answer, what);
        assert_eq!(left(&answer), [(name.to_owned(), 0)]);
    }
    // Others are not held up by it, and nobody has a limit who shows nothing.
    assert_eq!(left(&ask(&ada.to(&narrow)).await), [("user".to_owned(), 2)]);
    assert_eq!(ask(&narrow.nobody()).await.header("ratelimit"), None);
    open.close().await;
    narrow.close().await;
}
