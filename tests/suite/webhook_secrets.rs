//! A listener's secret, renewed: the old one is accepted for as long as it was promised, and no longer.

use rules::signature::{self, Secret};
use serde_json::{Value, json};
use tests::database::Database;
use tests::door::{Client, Door};

use crate::api_identity::tenant;

const ROTATE: &str =
    "mutation($t: ID!, $id: ID!, $h: Int) { rotateListenerSecret(tenant: $t, id: $id, keepOldHours: $h) {
    secret listener { oldSecretUntil } } }";

struct Address<'a> {
    door: &'a Door,
    admin: &'a Client,
    of: Value,
}

impl Address<'_> {
    async fn rotate(&self, hours: Option<i32>) -> (Secret, Value) {
        let mut of = self.of.clone();
        of["h"] = hours.into();
        let made = self.admin.ok(ROTATE, of).await["rotateListenerSecret"].clone();
        let secret = Secret::decode(made["secret"].as_str().unwrap()).ok().unwrap();
        (secret, made["listener"]["oldSecretUntil"].clone())
    }

    /// The status of a delivery that is signed with each of the secrets.
    async fn send(&self, secrets: &[&Secret]) -> u16 {
        let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let id = uuid::Uuid::new_v4().to_string();
        let signed: Vec<String> =
            secrets.iter().map(|s| signature::sign(s, &id, at, b"{}").unwrap()).collect();
        let (signed, at) = (signed.join(" "), at.to_string());
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signed.as_str()),
        ];
        self.door.post("/hooks/acme/orders", &headers, b"{}").await.status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_secret_is_accepted_for_its_grace() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let make = "mutation($t: ID!) { createListener(tenant: $t, path: \"orders\", title: \"L\", pipeline: {actions: []}) {
        secret listener { id oldSecretUntil } } }";
    let made = admin.ok(make, json!({"t": acme})).await["createListener"].clone();
    assert!(made["listener"]["oldSecretUntil"].is_null(), "{made}");
    let first = Secret::decode(made["secret"].as_str().unwrap()).ok().unwrap();
    let of = json!({"t": acme, "id": made["listener"]["id"]});
    let at = Address { door: &door, admin: &admin, of: of.clone() };

    // A day unless said otherwise: both are good, alone or together.
    let (second, until) = at.rotate(None).await;
    assert!(until.is_string(), "{until}");
    assert_eq!((at.send(&[&first]).await, at.send(&[&second]).await), (202, 202));
    assert_eq!(at.send(&[&first, &second]).await, 202);
    // The one before the last ends with the next renewal.
    let (third, _) = at.rotate(Some(1)).await;
    assert_eq!(
        (at.send(&[&first]).await, at.send(&[&second]).await, at.send(&[&third]).await),
        (401, 202, 202)
    );
    // Ended by hand, ended by the clock, ended at once.
    let end = "mutation($t: ID!, $id: ID!) { endOldListenerSecret(tenant: $t, id: $id) { oldSecretUntil } }";
    assert!(admin.ok(end, of.clone()).await["endOldListenerSecret"]["oldSecretUntil"].is_null());
    assert_eq!((at.send(&[&second]).await, at.send(&[&third]).await), (401, 202));
    let (fourth, _) = at.rotate(None).await;
    assert_eq!(at.send(&[&third]).await, 202);
    let mut conn = database.connect().await;
    sqlx::query("update listener set old_secret_until = now()").execute(&mut conn).await.unwrap();
    assert_eq!((at.send(&[&third]).await, at.send(&[&fourth]).await), (401, 202));
    let (fifth, _) = at.rotate(Some(0)).await;
    assert_eq!((at.send(&[&fourth]).await, at.send(&[&fifth]).await), (401, 202));

    let (code, told) = admin.refusal(ROTATE, json!({"t": acme, "id": of["id"], "h": 169})).await;
    assert_eq!(code, "BAD_USER_INPUT", "{told}");
    door.close().await;
}
