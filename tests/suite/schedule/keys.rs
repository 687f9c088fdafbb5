//! What an API key saved fires as long as the key, or one that took over from it, is good.

use serde_json::{Value, json};
use tests::{Client, wait};

use super::stage::Stage;

const KEY: &str = "mutation($t: ID!, $e: DateTime) { createApiKey(tenant: $t, title: \"K\", role: MEMBER, expiresAt: $e) { secret apiKey { id } } }";

const ROTATE: &str =
    "mutation($t: ID!, $id: ID!) { rotateApiKey(tenant: $t, id: $id, overlapS: 0) { secret apiKey { id } } }";

const REVOKE: &str = "mutation($t: ID!, $id: ID!) { revokeApiKey(tenant: $t, id: $id) { id } }";

impl Stage {
    /// A key, with its id.
    async fn key(&self) -> (Client, Value) {
        let made = self.admin.ok(KEY, json!({"t": self.tenant})).await["createApiKey"].clone();
        (self.admin.with_key(made["secret"].as_str().unwrap()), made["apiKey"]["id"].clone())
    }

    async fn rotated(&self, key: &Value) -> Value {
        self.admin.ok(ROTATE, json!({"t": self.tenant, "id": key})).await["rotateApiKey"]["apiKey"]["id"]
            .clone()
    }

    async fn revoke(&self, key: &Value) {
        self.admin.ok(REVOKE, json!({"t": self.tenant, "id": key})).await;
    }

    /// What becomes of the tick that is due now: its status, and why.
    async fn next_of(&self, id: &Value) -> (Value, String) {
        let before = self.history(id).await.len();
        // Two of them may come within one second, whose tick is fired once.
        let earlier = "update schedule_firing set tick_at = tick_at - interval '1 hour'";
        sqlx::query(earlier).execute(&self.db).await.unwrap();
        self.due_since(id, 1).await;
        drop(self.fire().await);
        let told = wait::value("a tick comes to its end", async || {
            let all = self.history(id).await;
            // Not the first of them, for those of one second stand in no order.
            let last = all.iter().max_by_key(|f| f["scheduledAt"].as_str().map(ToOwned::to_owned));
            last.filter(|f| all.len() > before && !f["endTime"].is_null()).cloned()
        })
        .await;
        (told["status"].clone(), told["result"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_a_key_that_is_revoked_disabled_or_has_expired_fires_no_more() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let expire = "update api_key set expires_at = now() - interval '1 second' where id = $1::uuid";
    let rest = "update api_key set disabled_at = now() where id = $1::uuid";
    for (end, told) in [(None, "is revoked"), (Some(expire), "has expired"), (Some(rest), "is disabled")] {
        let (client, key) = stage.key().await;
        let id = stage.schedule_by(&client, json!({"intervalSeconds": 1_000_000})).await;
        assert_eq!(stage.next_of(&id).await.0, "SUCCESS", "while the key is good");
        match end {
            None => stage.revoke(&key).await,
            Some(statement) => {
                let of: uuid::Uuid = key.as_str().unwrap().parse().unwrap();
                sqlx::query(statement).bind(of).execute(&stage.db).await.unwrap();
            }
        }
        let (status, why) = stage.next_of(&id).await;
        assert_eq!(status, "FAILURE", "{why}");
        let says = format!("`key:{}`, who saved the schedule, {told}", key.as_str().unwrap());
        assert!(why.contains(&says) && why.contains("once somebody who may has saved it"), "{why}");
    }
    hands.stop().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_that_takes_over_fires_what_the_old_one_saved() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let (client, first) = stage.key().await;
    let id = stage.schedule_by(&client, json!({"intervalSeconds": 1_000_000})).await;
    let second = stage.rotated(&first).await;
    assert_eq!(stage.next_of(&id).await.0, "SUCCESS", "the old key has ended, its successor is good");
    let third = stage.rotated(&second).await;
    stage.revoke(&first).await;
    stage.revoke(&second).await;
    assert_eq!(stage.next_of(&id).await.0, "SUCCESS", "through all that took over");
    stage.revoke(&third).await;
    let (status, why) = stage.next_of(&id).await;
    assert_eq!(status, "FAILURE", "{why}");
    assert!(why.contains(&format!("was rotated, and `key:{}` is revoked", third.as_str().unwrap())), "{why}");
    hands.stop().await;
    stage.close().await;
}
