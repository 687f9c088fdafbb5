//! Sessions: refreshed, ended, found out when a token was copied; invitations; the first login of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::{Certificates, ExternalConfig};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tests::door::{ADMIN, PASSWORD};
use tests::{Client, Database, Door};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::api_identity::tenant;

const LOGIN: &str =
    "mutation($e: String!, $p: String!) { login(email: $e, password: $p) { token refreshToken } }";
const REFRESH: &str =
    "mutation($r: String!) { refreshSession(refreshToken: $r) { token refreshToken user { email } } }";
const ME: &str = "{ me { user { email } apiKey { id } } }";

struct Pair {
    client: Client,
    refresh: Value,
}

fn pair(door: &Door, told: &Value) -> Pair {
    Pair {
        client: door.nobody().bearing(told["token"].as_str().unwrap()),
        refresh: told["refreshToken"].clone(),
    }
}

async fn login(door: &Door, email: &str, password: &str) -> Pair {
    let told = door.nobody().ok(LOGIN, json!({"e": email, "p": password})).await;
    pair(door, &told["login"])
}

async fn refresh(door: &Door, token: &Value) -> Pair {
    let told = door.nobody().ok(REFRESH, json!({"r": token})).await;
    pair(door, &told["refreshSession"])
}

async fn refused(door: &Door, token: &Value) {
    let (code, _) = door.nobody().refusal(REFRESH, json!({"r": token})).await;
    assert_eq!(code, "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_good_once_and_a_second_use_ends_the_family() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let first = login(&door, ADMIN, PASSWORD).await;
    let bystander = login(&door, ADMIN, PASSWORD).await;
    let second = refresh(&door, &first.refresh).await;
    let third = refresh(&door, &second.refresh).await;
    third.client.ok(ME, json!({})).await;
    // Somebody shows the first again: the whole family is over, access tokens too; another session is not.
    refused(&door, &first.refresh).await;
    refused(&door, &third.refresh).await;
    for client in [&first.client, &second.client, &third.client] {
        assert_eq!(client.ask(ME, json!({})).await.status, 401);
    }
    bystander.client.ok(ME, json!({})).await;
    refresh(&door, &bystander.refresh).await;
    for forged in
        ["", "mill_refresh_", "mill_refresh_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "mill_invite_x"]
    {
        refused(&door, &json!(forged)).await;
    }
    let stored: Vec<String> = sqlx::query_scalar("select encode(hash, 'escape') from refresh_token")
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap();
    assert!(stored.iter().all(|hash| !hash.contains("mill_refresh_")), "tokens are kept as hashes");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_refresh_at_once_one_comes_second() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let session = login(&door, ADMIN, PASSWORD).await;
    let nobody = door.nobody();
    let tries = (0..6).map(|_| nobody.ask(REFRESH, json!({"r": session.refresh})));
    let told = futures::future::join_all(tries).await;
    let good = told.iter().filter(|answer| answer.json().get("errors").is_none()).count();
    assert_eq!(good, 1, "{told:?}");
    assert_eq!(session.client.ask(ME, json!({})).await.status, 401, "and the family is over");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_password_account_and_age_end_a_session() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let (one, other) = (login(&door, ADMIN, PASSWORD).await, login(&door, ADMIN, PASSWORD).await);
    let sessions = one.client.ok("{ sessions { id current } }", json!({})).await["sessions"].clone();
    let current = sessions.as_array().unwrap().iter().filter(|s| s["current"] == true).count();
    assert_eq!((sessions.as_array().unwrap().len(), current), (2, 1));
    one.client.ok("mutation { logout }", json!({})).await;
    assert_eq!(one.client.ask(ME, json!({})).await.status, 401);
    refused(&door, &one.refresh).await;
    other.client.ok(ME, json!({})).await;

    let third = login(&door, ADMIN, PASSWORD).await;
    other.client.ok("mutation { logout(everywhere: true) }", json!({})).await;
    assert_eq!(third.client.ask(ME, json!({})).await.status, 401);
    refused(&door, &third.refresh).await;

    let fourth = login(&door, ADMIN, PASSWORD).await;
    let change = "mutation($o: String!, $n: String!) { changePassword(old: $o, new: $n) }";
    fourth.client.ok(change, json!({"o": PASSWORD, "n": "another password"})).await;
    refused(&door, &fourth.refresh).await;
    assert_eq!(fourth.client.ask(ME, json!({})).await.status, 401);

    let fifth = login(&door, ADMIN, "another password").await;
    sqlx::query("update session set expires_at = now()")
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(fifth.client.ask(ME, json!({})).await.status, 401);
    refused(&door, &fifth.refresh).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_among_nodes_without_anybody_being_turned_away() {
    let database = Database::new().await;
    let old = "the first key that signs, long enough";
    let before = Door::with(&database, |config| config.jwt_secret = old.into()).await;
    let after = Door::with(&database, |config| {
        config.jwt_secret = "the second key that signs, long enough".into();
        config.jwt_retired = vec![old.into()];
    })
    .await;
    let told = before.nobody().ok(LOGIN, json!({"e": ADMIN, "p": PASSWORD})).await;
    let session = pair(&after, &told["login"]);
    session.client.ok(ME, json!({})).await;
    let next = refresh(&after, &session.refresh).await;
    next.client.ok(ME, json!({})).await;
    let known = Door::open(&database).await;
    let elsewhere = pair(&known, &told["login"]);
    assert_eq!(elsewhere.client.ask(ME, json!({})).await.status, 401, "a key that nobody holds is none");
    for door in [before, after, known] {
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_succeeded_rested_and_revoked_on_every_node() {
    let database = Database::new().await;
    let (door, node) = (Door::open(&database).await, Door::open(&database).await);
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let new = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", scopes: [\"tenant:workflow:list\"]) { secret apiKey { id } } }";
    let made = admin.ok(new, json!({"t": acme})).await["createApiKey"].clone();
    let (secret, id) = (made["secret"].as_str().unwrap().to_owned(), made["apiKey"]["id"].clone());
    let at = |door: &Door, secret: &str| door.nobody().with_key(secret);
    // The older form of the header is taken, too.
    let old_form = door.nobody().with_authorization(&format!("api_key {secret}"));
    assert_eq!(old_form.ok(ME, json!({})).await["me"]["apiKey"]["id"], id);

    let rotate = "mutation($t: ID!, $id: ID!) { rotateApiKey(tenant: $t, id: $id) { secret apiKey { id scopes successorOf } } }";
    let next = admin.ok(rotate, json!({"t": acme, "id": id})).await["rotateApiKey"].clone();
    assert_eq!(next["apiKey"]["successorOf"], id);
    assert_eq!(next["apiKey"]["scopes"], json!(["tenant:workflow:list"]));
    let successor = next["secret"].as_str().unwrap();
    for secret in [secret.as_str(), successor] {
        at(&node, secret).ok(ME, json!({})).await;
    }
    assert_eq!(
        admin.refusal(rotate, json!({"t": acme, "id": id})).await.0,
        "CONFLICT",
        "two are as many as there are"
    );
    sqlx::query("update api_key set expires_at = now() where expires_at is not null")
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(at(&node, &secret).ask(ME, json!({})).await.status, 401, "the overlap is over");

    let rest = "mutation($t: ID!, $id: ID!, $on: Boolean!) { setApiKeyEnabled(tenant: $t, id: $id, enabled: $on) { disabledAt } }";
    let (own, on) =
        (next["apiKey"]["id"].clone(), |on: bool| json!({"t": acme, "id": next["apiKey"]["id"], "on": on}));
    admin.ok(rest, on(false)).await;
    assert_eq!(at(&node, successor).ask(ME, json!({})).await.status, 401, "at once, on the other node");
    admin.ok(rest, on(true)).await;
    at(&node, successor).ok(ME, json!({})).await;
    let revoke = "mutation($t: ID!, $id: ID!) { revokeApiKey(tenant: $t, id: $id) { revokedAt } }";
    admin.ok(revoke, json!({"t": acme, "id": own})).await;
    assert_eq!(at(&node, successor).ask(ME, json!({})).await.status, 401);
    assert_eq!(admin.refusal(rest, on(true)).await.0, "NOT_FOUND", "what is revoked stays so");
    node.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_accepted_once_by_whom_it_is_for() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let invite =
        "mutation($t: ID!, $e: String!) { inviteMember(tenant: $t, email: $e) { token invitation { id } } }";
    let accept = "mutation($t: String!, $p: String) { acceptInvitation(token: $t, password: $p) { token user { email } } }";
    let told = admin.ok(invite, json!({"t": acme, "e": "new@example.org"})).await["inviteMember"].clone();
    let nobody = door.nobody();
    assert_eq!(
        nobody.refusal(accept, json!({"t": told["token"]})).await.0,
        "BAD_USER_INPUT",
        "a password is needed"
    );
    let joined =
        nobody.ok(accept, json!({"t": told["token"], "p": PASSWORD})).await["acceptInvitation"].clone();
    let member = nobody.bearing(joined["token"].as_str().unwrap());
    member.ok("query($t: ID!) { workflows(tenant: $t) { nodes { id } } }", json!({"t": acme})).await;
    let again = nobody.refusal(accept, json!({"t": told["token"], "p": PASSWORD})).await;
    assert_eq!(again.0, "UNAUTHENTICATED");

    // An account that is there is not given another password by whoever found the token.
    let ada = door.user("ada@example.org", "USER").await;
    let told = admin.ok(invite, json!({"t": acme, "e": "ada@example.org"})).await["inviteMember"].clone();
    let taken = nobody.refusal(accept, json!({"t": told["token"], "p": "stolen password"})).await;
    assert_eq!(taken.0, "CONFLICT");
    assert_eq!(
        member.refusal(accept, json!({"t": told["token"]})).await.0,
        "CONFLICT",
        "nor taken by another"
    );
    ada.ok(accept, json!({"t": told["token"]})).await;

    let told = admin.ok(invite, json!({"t": acme, "e": "late@example.org"})).await["inviteMember"].clone();
    let revoke = "mutation($t: ID!, $id: ID!) { revokeInvitation(tenant: $t, id: $id) { revokedAt } }";
    admin.ok(revoke, json!({"t": acme, "id": told["invitation"]["id"]})).await;
    let late = nobody.refusal(accept, json!({"t": told["token"], "p": PASSWORD})).await;
    assert_eq!(late.0, "UNAUTHENTICATED");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_is_made_with_the_token_of_the_setup_alone() {
    let database = Database::new().await;
    let set_up = "mutation($t: String!) { setUp(setupToken: $t, email: \"root@example.org\", password: \"correct horse battery\") { role } }";
    let closed = Door::empty(&database, |_| {}).await;
    assert_eq!(closed.nobody().ok("{ setupNeeded }", json!({})).await["setupNeeded"], true);
    assert_eq!(closed.nobody().refusal(set_up, json!({"t": ""})).await.0, "UNAUTHENTICATED");
    closed.close().await;
    let door =
        Door::empty(&database, |config| config.setup_token = Some("a token of the setup".into())).await;
    assert_eq!(door.nobody().refusal(set_up, json!({"t": "another token"})).await.0, "UNAUTHENTICATED");
    let made = door.nobody().ok(set_up, json!({"t": "a token of the setup"})).await;
    assert_eq!(made["setUp"]["role"], "SUPER_ADMIN");
    assert_eq!(door.nobody().ok("{ setupNeeded }", json!({})).await["setupNeeded"], false);
    assert_eq!(door.nobody().refusal(set_up, json!({"t": "a token of the setup"})).await.0, "CONFLICT");
    door.login("root@example.org").await.ok(ME, json!({})).await;
    door.close().await;
}

/// An issuer of logins on loopback: gives its certificates, counts who asks, and signs.
struct StandIn {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl StandIn {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/certificates", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let set = json!({"k1": include_str!("stand_in/one.crt")}).to_string();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut head = [0; 2048];
                let _read = stream.read(&mut head).await;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncache-control: max-age=600\r\nconnection: close\r\n\r\n{set}",
                    set.len()
                );
                let _sent = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, asked }
    }

    fn token(&self, subject: &str, email: &str, verified: bool) -> String {
        let now = chrono::Utc::now().timestamp();
        let claims = json!({
            "iss": "https://securetoken.google.com/acme", "aud": "acme", "sub": subject, "iat": now, "exp": now + 600,
            "auth_time": now, "email": email, "email_verified": verified,
        });
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some("k1".into());
        let key = EncodingKey::from_rsa_pem(include_bytes!("stand_in/one.key")).unwrap();
        encode(&header, &claims, &key).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_another_issuer_is_the_user_whose_address_it_has_verified() {
    let database = Database::new().await;
    let issuer = StandIn::start().await;
    let external = ExternalConfig::firebase("acme", Certificates::Url(issuer.url.clone()));
    let door = Door::with(&database, |config| config.external = Some(external)).await;
    door.user("ada@example.org", "USER").await;
    let nobody = door.nobody();
    let by = |subject: &str, email: &str, verified| nobody.bearing(&issuer.token(subject, email, verified));
    assert_eq!(by("s1", "ada@example.org", false).ask(ME, json!({})).await.status, 401, "not verified");
    assert_eq!(by("s1", "who@example.org", true).ask(ME, json!({})).await.status, 401, "nobody here");
    let me = by("s1", "Ada@Example.org", true).ok(ME, json!({})).await;
    assert_eq!(me["me"]["user"]["email"], "ada@example.org");
    // From now on the subject counts, whatever address it has.
    let me = by("s1", "changed@example.org", false).ok(ME, json!({})).await;
    assert_eq!(me["me"]["user"]["email"], "ada@example.org");
    let exchange = "mutation($t: String!) { loginExternal(token: $t) { token refreshToken } }";
    let told = nobody.ok(exchange, json!({"t": issuer.token("s1", "x@example.org", false)})).await;
    let session = pair(&door, &told["loginExternal"]);
    session.client.ok(ME, json!({})).await;
    refresh(&door, &session.refresh).await;
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1, "the certificates are kept for as long as they say");
    // Our own logins go on beside it, and one who is shut out is so whoever vouches for them.
    door.admin().await.ok(ME, json!({})).await;
    sqlx::query("update app_user set disabled_at = now() where email = 'ada@example.org'")
        .execute(&mut *database.desk().await)
        .await
        .unwrap();
    assert_eq!(by("s1", "ada@example.org", true).ask(ME, json!({})).await.status, 401);
    let code = nobody.refusal(exchange, json!({"t": issuer.token("s1", "ada@example.org", true)})).await.0;
    assert_eq!(code, "UNAUTHENTICATED");
    door.close().await;
}
