//! An API process, what there is to hear of, and those who make it happen.

use std::time::{Duration, Instant};

use jobs::db::{PgConnection, PgPool};
use jobs::queue::Wake;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use sqlx::Connection;
use tests::{Client, Database, Door, Millrace, door, http};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Live connections that one API key may have.
const EACH: usize = 100;

/// What every event's name of its department begins with; its number follows.
pub(super) const NAME: &str = "\"name\":\"event ";

/// All that is measured.
pub(super) struct Stage {
    pub(super) api: Millrace,
    /// Clients with keys of their own, each of which may have so many connections.
    pub(super) clients: Vec<Client>,
    /// What there is to hear of.
    pub(super) departments: Vec<Uuid>,
    conn: PgConnection,
    db: PgPool,
    wake: Wake,
    tenant: Uuid,
    ended: CancellationToken,
    /// The moment before the commit of each event, by its number.
    pub(super) told: Vec<Instant>,
}

/// Lets this process and those that it starts have so many files open.
pub(super) fn allow_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= count), "{count} open files are needed: `ulimit -Hn`");
    if limit.current.is_some_and(|now| now < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), ..limit }).unwrap();
    }
}

impl Stage {
    /// Starts the process; as many clients as so many connections need, and so many departments.
    pub(super) async fn set(database: &Database, connections: usize, departments: usize) -> Self {
        let most = (2 * connections + 1_000).to_string();
        let mut api = door::process(database, &[("MAX_LIVE_CONNECTIONS", most.as_str())]);
        let door = Door::open(database).await;
        let admin = door.admin().await;
        let make = "mutation { createTenant(slug: \"live\", title: \"Live\") { id } }";
        let tenant = admin.ok(make, json!({})).await["createTenant"]["id"].clone();
        let at = api.listening().await;
        let key = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", role: ADMIN) { secret } }";
        let mut clients = Vec::new();
        for _ in 0..connections.div_ceil(EACH) {
            let made = admin.ok(key, json!({"t": tenant})).await;
            let secret = made["createApiKey"]["secret"].as_str().unwrap();
            clients.push(door.nobody().with_key(secret).at(at));
        }
        door.close().await;
        let tenant: Uuid = tenant.as_str().unwrap().parse().unwrap();
        let db = database.pool().await;
        let departments = sqlx::query_scalar(
            "insert into department (id, tenant_id, name) select gen_random_uuid(), $1, n::text from generate_series(1, $2) n returning id",
        )
        .bind(tenant)
        .bind(i32::try_from(departments).unwrap())
        .fetch_all(&db)
        .await
        .unwrap();
        let (conn, ended) = (database.connect().await, CancellationToken::new());
        let wake = Wake::start(&db, &ended);
        Self { api, clients, departments, conn, db, wake, tenant, ended, told: Vec::new() }
    }

    /// The client for the connection of this number.
    pub(super) fn client(&self, number: usize) -> &Client {
        &self.clients[number / EACH]
    }

    /// What a subscription to a department takes.
    pub(super) fn asked(&self, department: Uuid) -> Value {
        json!({"t": self.tenant, "id": department})
    }

    /// Makes one thing happen in a department. Returns its number.
    pub(super) async fn happen(&mut self, department: Uuid) -> usize {
        let number = self.told.len();
        let mut tx = self.conn.begin().await.unwrap();
        let rename = "update department set name = 'event ' || $2 where id = $1";
        let number_text = number.to_string();
        sqlx::query(rename).bind(department).bind(number_text).execute(&mut *tx).await.unwrap();
        self.told.push(Instant::now());
        tx.commit().await.unwrap();
        // As whoever commits a change does.
        self.wake.stir();
        number
    }

    /// Writes many large events of a department at once.
    pub(super) async fn flood(&self, department: Uuid, events: i32, bytes: i32) {
        let many = "insert into event (tenant_id, topic, topic_id, name, data)
            select $1, 'DEPARTMENT', $2, 'n', jsonb_build_object('text', repeat('x', $4)) from generate_series(1, $3)";
        let flood = sqlx::query(many).bind(self.tenant).bind(department).bind(events).bind(bytes);
        flood.execute(&self.db).await.unwrap();
        self.wake.stir();
    }

    /// How many the process has dropped because they were slow.
    pub(super) async fn dropped(&self) -> usize {
        let figures = http::send(self.clients[0].address(), "GET", "/metrics", &[], b"").await.text;
        let name = "millrace_live_parted_total{reason=\"slow\"} ";
        let dropped = figures.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
        dropped.unwrap_or_default()
    }

    /// Ends the process.
    pub(super) async fn strike(mut self) {
        self.api.stop(Duration::from_secs(30)).await;
        self.ended.cancel();
    }
}
