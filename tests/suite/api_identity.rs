//! Who is let in: logins, sessions, roles, API keys.

use serde_json::{Value, json};
use tests::door::{ADMIN, PASSWORD};
use tests::{Client, Database, Door, wait};

const LOGIN: &str = "mutation($email: String!, $password: String!) { login(email: $email, password: $password) { token expiresAt } }";
const ME: &str = "{ me { user { email role } apiKey { id tenant role } } }";

async fn try_login(client: &Client, email: &str, password: &str) -> (String, String) {
    client.refusal(LOGIN, json!({"email": email, "password": password})).await
}

pub(crate) async fn tenant(admin: &Client, slug: &str) -> Value {
    let query = "mutation($slug: String!) { createTenant(slug: $slug, title: \"T\") { id } }";
    admin.ok(query, json!({"slug": slug})).await["createTenant"]["id"].clone()
}

pub(crate) async fn join(admin: &Client, tenant: &Value, email: &str, role: &str) {
    let query = "mutation($t: ID!, $e: String!, $r: TenantRole!) { addMember(tenant: $t, email: $e, role: $r) { userId } }";
    admin.ok(query, json!({"t": tenant, "e": email, "r": role})).await;
}

async fn new_key(client: &Client, tenant: &Value, role: &str) -> (Client, Value) {
    let query = "mutation($t: ID!, $r: TenantRole!) { createApiKey(tenant: $t, title: \"K\", role: $r) { secret apiKey { id } } }";
    let made = client.ok(query, json!({"t": tenant, "r": role})).await["createApiKey"].clone();
    (client.with_key(made["secret"].as_str().unwrap()), made["apiKey"]["id"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_a_token_that_says_who_one_is() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.login(" Admin@Example.ORG ").await;
    let me = admin.ok(ME, json!({})).await;
    assert_eq!(me["me"]["user"], json!({"email": ADMIN, "role": "SUPER_ADMIN"}));
    let nobody = door.nobody();
    assert_eq!(nobody.refusal(ME, json!({})).await.0, "UNAUTHENTICATED");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_no_good_are_refused_before_anything_is_looked_at() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let nobody = door.nobody();
    let forged = [
        nobody.bearing(""),
        nobody.bearing("a.b.c"),
        nobody.bearing("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.e30."),
        nobody.with_key("mill_live_x"),
        nobody.with_key("admin' or 1=1 --"),
    ];
    for client in forged {
        // Even a field that is open to all: who means to be somebody is not served as nobody.
        let answer = client.ask("{ __typename }", json!({})).await;
        assert_eq!(answer.status, 401, "{client:?}");
        assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_which_addresses_exist() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let nobody = door.nobody();
    let wrong = try_login(&nobody, ADMIN, "not the password").await;
    let unknown = try_login(&nobody, "nobody@example.org", PASSWORD).await;
    assert_eq!(wrong, unknown);
    assert_eq!(wrong, ("UNAUTHENTICATED".into(), "the e-mail address or the password is wrong".into()));
    assert_eq!(try_login(&nobody, "no address", PASSWORD).await.0, "BAD_USER_INPUT");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_by_address_of_mail_and_of_network() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| {
        config.limits.login_by_email = 3;
        config.limits.login_by_address = 5;
    })
    .await;
    let nobody = door.nobody();
    for _ in 0..3 {
        assert_eq!(try_login(&nobody, ADMIN, "wrong").await.0, "UNAUTHENTICATED");
    }
    let refused = nobody.ask(LOGIN, json!({"email": ADMIN, "password": PASSWORD})).await.json();
    let refused = &refused["errors"][0]["extensions"];
    assert_eq!(refused["code"], "RATE_LIMITED", "the right password is refused, too, while the lock lasts");
    assert!((1..=900).contains(&refused["retryAfterS"].as_i64().unwrap()), "{refused}");
    // Other people still get in, until the network address has had its share.
    assert_eq!(try_login(&nobody, "other@example.org", "wrong").await.0, "UNAUTHENTICATED");
    assert_eq!(try_login(&nobody, "third@example.org", "wrong").await.0, "RATE_LIMITED");

    sqlx::query("update login_throttle set window_ends_at = now(), locked_until = now()")
        .execute(&mut *database.desk().await)
        .await
        .unwrap();
    door.login(ADMIN).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_side_by_side_are_all_counted() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| config.limits.login_by_email = 4).await;
    let nobody = door.nobody();
    let tries = (0..12).map(|_| try_login(&nobody, ADMIN, "wrong"));
    let told = futures::future::join_all(tries).await;
    let looked_at = told.iter().filter(|(code, _)| code == "UNAUTHENTICATED").count();
    assert_eq!(looked_at, 4, "{told:?}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_the_password_and_with_the_account() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let ada = door.user("ada@example.org", "USER").await;
    let change = "mutation($old: String!, $new: String!) { changePassword(old: $old, new: $new) }";
    let wrong = ada.refusal(change, json!({"old": "not mine at all", "new": "a longer password"})).await;
    assert_eq!(wrong.0, "BAD_USER_INPUT");
    assert_eq!(ada.refusal(change, json!({"old": PASSWORD, "new": "short"})).await.0, "BAD_USER_INPUT");
    ada.ok(change, json!({"old": PASSWORD, "new": "a longer password"})).await;
    assert_eq!(ada.ask(ME, json!({})).await.status, 401);

    let admin = door.admin().await;
    sqlx::query("update app_user set disabled_at = now()")
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(admin.ask(ME, json!({})).await.status, 401);
    assert_eq!(try_login(&door.nobody(), ADMIN, PASSWORD).await.0, "UNAUTHENTICATED");
    // Too many wrong ones shut the right one out as well, until the password is renewed.
    let nobody = door.nobody();
    wait::until("the account is shut out", async || {
        try_login(&nobody, ADMIN, "wrong").await.0 == "RATE_LIMITED"
    })
    .await;
    let pool = database.pool().await;
    let whose =
        api::reset_admin_password(&pool, None, "the newest password".into(), "operator:ann").await.unwrap();
    assert_eq!(whose, ADMIN);
    door.nobody().ok(LOGIN, json!({"email": ADMIN, "password": "the newest password"})).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shut_out_by_whoever_may_make_one_and_by_nobody_else() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let (root, boss) = (door.admin().await, door.user("boss@example.org", "ADMIN").await);
    let ada = door.user("ada@example.org", "USER").await;
    let listed = boss.ok("{ users { nodes { id email } } }", json!({})).await["users"]["nodes"].clone();
    let id =
        |email: &str| listed.as_array().unwrap().iter().find(|u| u["email"] == email).unwrap()["id"].clone();
    let set = "mutation($id: ID!, $on: Boolean!) { setUserEnabled(id: $id, enabled: $on) { disabledAt } }";
    let off = |email: &str| json!({"id": id(email), "on": false});
    assert_eq!(ada.refusal(set, off("boss@example.org")).await.0, "FORBIDDEN");
    assert_eq!(boss.refusal(set, off(ADMIN)).await.0, "FORBIDDEN");
    assert_eq!(boss.refusal(set, off("boss@example.org")).await.0, "BAD_USER_INPUT");
    boss.ok(set, off("ada@example.org")).await;
    assert_eq!(ada.ask(ME, json!({})).await.status, 401);
    assert_eq!(try_login(&door.nobody(), "ada@example.org", PASSWORD).await.0, "UNAUTHENTICATED");
    boss.ok(set, json!({"id": id("ada@example.org"), "on": true})).await;
    ada.ok(ME, json!({})).await;
    root.ok(set, off("boss@example.org")).await;
    assert_eq!(boss.ask(ME, json!({})).await.status, 401);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_is_made_once() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let pool = database.pool().await;
    let again = api::bootstrap_admin(&pool, "other@example.org", "another password".into()).await.unwrap();
    assert_eq!(again, api::Bootstrapped::Existing(ADMIN.into()));
    assert_eq!(try_login(&door.nobody(), "other@example.org", "another password").await.0, "UNAUTHENTICATED");
    door.user("ada@example.org", "USER").await;
    let promoted =
        api::reset_admin_password(&pool, Some("ada@example.org"), "another password".into(), "operator:ann")
            .await;
    assert_eq!(promoted.unwrap_err().code, jobs::Code::Denied);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_and_no_more() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let root = door.admin().await;
    let admin = door.user("boss@example.org", "ADMIN").await;
    let user = door.user("ada@example.org", "USER").await;
    let key = new_key(&root, &tenant(&root, "acme").await, "ADMIN").await.0;
    let make = |email: &str, role: &str| {
        format!(
            "mutation {{ createUser(email: \"{email}\", password: \"{PASSWORD}\", role: {role}) {{ id }} }}"
        )
    };
    // What is asked, and whether a super administrator, an administrator, a user and a key may.
    let table = [
        ("{ queues { name } }".to_owned(), [true, true, false, false]),
        ("mutation { pauseQueue(name: \"audit\") { name } }".into(), [true, true, false, false]),
        ("mutation { resumeQueue(name: \"audit\") { name } }".into(), [true, true, false, false]),
        ("mutation { createTenant(slug: \"SLUG\", title: \"T\") { id } }".into(), [true, true, false, false]),
        (make("SLUG@example.org", "USER"), [true, true, false, false]),
        (make("SLUG@example.org", "ADMIN"), [true, false, false, false]),
        (make("SLUG@example.org", "SUPER_ADMIN"), [true, false, false, false]),
        ("{ jobs { nodes { id } } }".into(), [true, true, false, true]),
        ("{ tenants { nodes { id } } }".into(), [true, true, true, true]),
    ];
    for (row, (query, may)) in table.iter().enumerate() {
        for (column, (client, may)) in [&root, &admin, &user, &key].into_iter().zip(may).enumerate() {
            let query = query.replace("SLUG", &format!("s{row}{column}"));
            let told = client.ask(&query, json!({})).await.json();
            let code = told["errors"][0]["extensions"]["code"].as_str();
            if *may {
                assert_eq!(code, None, "{query}: {told}");
            } else {
                // Jobs of nobody in particular: a user must name a tenant.
                let expected = if query.contains("jobs {") { "BAD_USER_INPUT" } else { "FORBIDDEN" };
                assert_eq!(code, Some(expected), "{query}: {told}");
            }
        }
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_lives_is_seen_and_dies() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let (key, id) = new_key(&admin, &acme, "MEMBER").await;
    let me = key.ok(ME, json!({})).await;
    assert_eq!(me["me"]["apiKey"], json!({"id": id, "tenant": acme, "role": "MEMBER"}));
    // Its own tenant is meant where none is named; to manage takes another role.
    key.ok("{ workflows { nodes { id } } }", json!({})).await;
    assert_eq!(key.refusal("{ apiKeys { nodes { id } } }", json!({})).await.0, "FORBIDDEN");

    let list =
        "query($t: ID!) { apiKeys(tenant: $t) { nodes { id publicId lastUsedAt createdBy disabledAt } } }";
    let listed = admin.ask(list, json!({"t": acme})).await;
    assert!(listed.json()["data"]["apiKeys"]["nodes"][0]["lastUsedAt"].is_string(), "{listed:?}");
    assert!(!listed.text.contains("mill_live_"), "a key is shown once");

    let past = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", expiresAt: \"2020-01-01T00:00:00Z\") { secret } }";
    assert_eq!(admin.refusal(past, json!({"t": acme})).await.0, "BAD_USER_INPUT");
    let (ending, _) = new_key(&admin, &acme, "MEMBER").await;
    let mut conn = database.connect().await;
    sqlx::query("update api_key set expires_at = now() where id <> $1::uuid")
        .bind(id.as_str())
        .execute(&mut conn)
        .await
        .unwrap();
    assert_eq!(ending.ask(ME, json!({})).await.status, 401);

    let revoke = "mutation($t: ID!, $id: ID!) { revokeApiKey(tenant: $t, id: $id) { disabledAt } }";
    admin.ok(revoke, json!({"t": acme, "id": id})).await;
    assert_eq!(key.ask(ME, json!({})).await.status, 401);
    let stored: Vec<u8> =
        sqlx::query_scalar("select secret_hash from api_key limit 1").fetch_one(&mut conn).await.unwrap();
    assert_eq!(stored.len(), 32);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_of_a_tenant_stays() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    door.user("ada@example.org", "USER").await;
    join(&admin, &acme, "ada@example.org", "ADMIN").await;
    let members = "query($t: ID!) { members(tenant: $t) { nodes { userId email } } }";
    let listed = admin.ok(members, json!({"t": acme})).await["members"]["nodes"].clone();
    let remove = "mutation($t: ID!, $u: ID!) { removeMember(tenant: $t, user: $u) }";
    admin.ok(remove, json!({"t": acme, "u": listed[0]["userId"]})).await;
    let last = admin.refusal(remove, json!({"t": acme, "u": listed[1]["userId"]})).await;
    assert_eq!(last.0, "CONFLICT");
    door.close().await;
}
