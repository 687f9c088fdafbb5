//! A mutation that is sent again under its idempotency key is done once, whatever happened in between.

use std::sync::Arc;

use serde_json::{Value, json};
use tests::http::{self, Answer};
use tests::{Client, Database, Door, wait};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::api_identity::{join, tenant};

const MAKE: &str = "mutation($t: ID!, $n: String!) { createDepartment(tenant: $t, name: $n) { id name } }";

/// A house with a tenant that its administrator belongs to.
struct House {
    database: Database,
    door: Door,
    admin: Client,
    acme: Value,
}

impl House {
    async fn open() -> Arc<Self> {
        let database = Database::new().await;
        let door = Door::open(&database).await;
        let admin = door.admin().await;
        let acme = tenant(&admin, "acme").await;
        Arc::new(Self { database, door, admin, acme })
    }

    async fn ask(&self, client: &Client, key: &str, query: &str, variables: Value) -> Answer {
        let body = json!({"query": query, "variables": variables}).to_string();
        let mut headers = vec![("content-type", "application/json"), ("idempotency-key", key)];
        headers.extend(client.headers().iter().map(|(name, value)| (*name, value.as_str())));
        http::send(self.door.address, "POST", "/graphql", &headers, body.as_bytes()).await
    }

    /// Makes a department under a key.
    async fn make(&self, key: &str, name: &str) -> Answer {
        self.ask(&self.admin, key, MAKE, json!({"t": self.acme, "n": name})).await
    }

    async fn value(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut *self.database.desk().await).await.unwrap()
    }

    async fn value_of(&self, query: &'static str) -> i32 {
        sqlx::query_scalar(query).fetch_one(&mut *self.database.desk().await).await.unwrap()
    }

    async fn departments(&self) -> i64 {
        self.value("select count(*) from department").await
    }

    async fn run(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut *self.database.desk().await).await.unwrap();
    }

    /// Waits until so many statements wait for a lock.
    async fn waiting(&self, count: i64) {
        wait::until("it waits for the lock", || async {
            self.value("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await == count
        })
        .await;
    }
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned())
}

fn was_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_is_answered_again_and_not_done() {
    let house = House::open().await;
    let first = house.make("k", "d").await;
    assert!(first.status == 200 && !was_replayed(&first), "{first:?}");
    for _ in 0..3 {
        let again = house.make("k", "d").await;
        assert!(was_replayed(&again), "{again:?}");
        assert_eq!(again.text, first.text);
    }
    assert_eq!(house.departments().await, 1);
    // In quotation marks it is the same key; of another request it is none.
    assert!(was_replayed(&house.make("\"k\"", "d").await));
    assert_eq!(code(&house.make("k", "other").await), (422, "IDEMPOTENCY_MISMATCH".into()));
    assert_eq!(house.departments().await, 1);
    assert!(!was_replayed(&house.make("l", "other").await));

    // Answers hold secrets, and are sealed.
    let key = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\") { secret } }";
    let made = house.ask(&house.admin, "secret", key, json!({"t": house.acme})).await;
    let again = house.ask(&house.admin, "secret", key, json!({"t": house.acme})).await;
    assert!(was_replayed(&again) && again.text == made.text && made.text.contains("mill_"), "{made:?}");
    let plain = "select count(*) from idempotency_key where position('mill_'::bytea in answer) > 0 or position('data'::bytea in answer) > 0";
    assert_eq!(house.value(plain).await, 0);
    assert_eq!(house.value("select count(*) from api_key").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_of_whoever_asks_in_the_tenant_that_they_name() {
    let house = House::open().await;
    let other = tenant(&house.admin, "other").await;
    let ada = house.door.user("ada@example.org", "USER").await;
    join(&house.admin, &house.acme, "ada@example.org", "ADMIN").await;
    let secret = house
        .admin
        .ok(
            "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", role: ADMIN) { secret } }",
            json!({"t": house.acme}),
        )
        .await;
    let program = house.door.nobody().with_key(secret["createApiKey"]["secret"].as_str().unwrap());
    house.make("k", "d1").await;
    for (client, of, name) in
        [(&ada, &house.acme, "d2"), (&program, &house.acme, "d3"), (&house.admin, &other, "d1")]
    {
        let answer = house.ask(client, "k", MAKE, json!({"t": of, "n": name})).await;
        assert_eq!((code(&answer).1, was_replayed(&answer)), (String::new(), false), "{answer:?}");
    }
    assert_eq!(house.departments().await, 4);
    // Whoever shows nothing has no keys, and what is only read needs none.
    let login = "mutation { login(email: \"a@example.org\", password: \"correct horse\") { token } }";
    let answer = house.ask(&house.door.nobody(), "k", login, json!({})).await;
    assert_eq!(code(&answer), (400, "BAD_USER_INPUT".into()));
    for _ in 0..2 {
        let read = house.ask(&house.admin, "k", "{ me { user { email } } }", json!({})).await;
        assert!(read.status == 200 && !was_replayed(&read), "{read:?}");
    }
    for bad in ["", "a b", &"x".repeat(256)] {
        assert_eq!(code(&house.make(bad, "d").await), (400, "BAD_USER_INPUT".into()), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_did_nothing_gives_its_key_back() {
    let house = House::open().await;
    house.make("first", "d").await;
    let refused = house.make("k", "d").await;
    assert_eq!(code(&refused), (200, "CONFLICT".into()), "{refused:?}");
    // As it was, and mended: both are executed.
    assert_eq!(code(&house.make("k", "d").await).1, "CONFLICT");
    let mended = house.make("k", "e").await;
    assert_eq!((code(&mended).1, was_replayed(&mended)), (String::new(), false), "{mended:?}");
    assert!(was_replayed(&house.make("k", "e").await));
    assert_eq!(house.departments().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_under_way_it_is_not_begun_again() {
    let house = House::open().await;
    let mut blocker = house.database.connect().await;
    sqlx::raw_sql("begin; lock table department").execute(&mut blocker).await.unwrap();
    let first = tokio::spawn({
        let house = Arc::clone(&house);
        async move { house.make("k", "d").await }
    });
    house.waiting(1).await;
    let busy = house.make("k", "d").await;
    assert_eq!(code(&busy), (409, "CONFLICT".into()), "{busy:?}");
    assert!(busy.text.contains("under way"), "{busy:?}");
    let after: i64 = busy.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{busy:?}");
    assert_eq!(code(&house.make("k", "e").await), (422, "IDEMPOTENCY_MISMATCH".into()));
    sqlx::raw_sql("commit").execute(&mut blocker).await.unwrap();
    let first = first.await.unwrap();
    let again = house.make("k", "d").await;
    assert!(was_replayed(&again) && again.text == first.text, "{again:?}");
    assert_eq!(house.departments().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_overtaken_does_nothing_any_more() {
    let house = House::open().await;
    let mut blocker = house.database.connect().await;
    sqlx::raw_sql("begin; lock table department").execute(&mut blocker).await.unwrap();
    let make = |house: &Arc<House>| {
        let house = Arc::clone(house);
        tokio::spawn(async move { house.make("k", "d").await })
    };
    let slow = make(&house);
    house.waiting(1).await;
    // Its time is over, as of one whose process was stopped; another takes the key over.
    house.run("update idempotency_key set held_until = now()").await;
    let quick = make(&house);
    house.waiting(2).await;
    sqlx::raw_sql("commit").execute(&mut blocker).await.unwrap();
    let answers = [slow.await.unwrap(), quick.await.unwrap()];
    let refused = answers.iter().filter(|answer| code(answer).1 == "CONFLICT").count();
    assert_eq!((refused, house.departments().await), (1, 1), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_and_an_api_that_dies_keep_no_key() {
    let house = House::open().await;
    let mut blocker = house.database.connect().await;
    sqlx::raw_sql("begin; lock table department").execute(&mut blocker).await.unwrap();
    let body = json!({"query": MAKE, "variables": {"t": house.acme, "n": "d"}}).to_string();
    let (name, value) = house.admin.headers()[0].clone();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: test\r\n{name}: {value}\r\nidempotency-key: k\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut leaving = TcpStream::connect(house.door.address).await.unwrap();
    leaving.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    house.waiting(1).await;
    drop(leaving);
    wait::until("the key is given back", || async {
        house.value("select count(*) from idempotency_key").await == 0
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut blocker).await.unwrap();

    // Of one that was killed the key is held for a minute at most, and then free.
    house.make("k", "d").await;
    assert_eq!(house.departments().await, 1);
    let bound = "select extract(epoch from max(held_until - created_at))::bigint from idempotency_key";
    assert_eq!(house.value(bound).await, 60);
    house.run("delete from department; update idempotency_key set done_at = null, answer = null").await;
    assert_eq!(code(&house.make("k", "d").await), (409, "CONFLICT".into()));
    house.run("update idempotency_key set held_until = now()").await;
    assert_eq!(code(&house.make("k", "d").await).1, "");
    assert_eq!(house.departments().await, 1);
    // One that died between what it did and its answer has done it: it is told so, and never done again.
    house.run("update idempotency_key set answer = null, held_until = now()").await;
    let lost = house.make("k", "d").await;
    assert_eq!(code(&lost), (409, "CONFLICT".into()), "{lost:?}");
    assert!(lost.text.contains("look at what is there"), "{lost:?}");
    // After a day it is forgotten.
    house
        .run("delete from department; update idempotency_key set created_at = now() - interval '25 hours'")
        .await;
    assert_eq!(code(&house.make("k", "d").await).1, "");
    assert_eq!(house.departments().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_key_is_not_kept_with_the_tenant_that_they_name() {
    let house = House::open().await;
    let eve = house.door.user("eve@example.org", "USER").await;
    house
        .run(
            "create table seen (tenant_id uuid);
            create function see() returns trigger language plpgsql security definer as
                'begin insert into seen values (new.tenant_id); return new; end';
            create trigger see after insert on idempotency_key for each row execute function see()",
        )
        .await;
    let answer = house.ask(&eve, "k", MAKE, json!({"t": house.acme, "n": "d"})).await;
    assert_eq!(code(&answer).1, "NOT_FOUND", "{answer:?}");
    assert_eq!(house.make("k", "d").await.status, 200);
    let of = async |whose: &'static str| house.value(whose).await;
    assert_eq!(
        of("select count(*) from seen where tenant_id = (select id from tenant)").await,
        1,
        "the member's alone"
    );
    assert_eq!(of("select count(*) from seen").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_very_many_loses_their_own_oldest_keys() {
    use jobs::idempotency::{ANSWERS_OF_ONE_BYTES_MAX, KEYS_OF_ONE_MAX, remove_excess};
    let house = House::open().await;
    house.make("k", "d").await;
    let mut conn = house.database.connect().await;
    let many = "insert into idempotency_key (id, tenant_id, principal, key, fingerprint, held_until, done_at, created_at, answer)
        select gen_random_uuid(), (select id from tenant), $1, 'k' || n, '', now(), now(), now() - n * interval '10 ms',
            case when $3 > 0 then convert_to(repeat('x', $3), 'UTF8') end
        from generate_series(1, $2) n";
    let answer_bytes = 200_000;
    let answers = i32::try_from(ANSWERS_OF_ONE_BYTES_MAX / answer_bytes).unwrap();
    let keys = i32::try_from(KEYS_OF_ONE_MAX).unwrap();
    for (who, count, bytes) in [("user:1", keys + 7, 0), ("user:2", answers + 5, answer_bytes as i32)] {
        sqlx::query(many).bind(who).bind(count).bind(bytes).execute(&mut conn).await.unwrap();
    }
    assert_eq!(remove_excess(&mut conn).await.unwrap(), 7 + 5);
    assert_eq!(remove_excess(&mut conn).await.unwrap(), 0);
    let left =
        "select array_agg(c order by c) from (select count(*) c from idempotency_key group by principal) x";
    let left: Vec<i64> = sqlx::query_scalar(left).fetch_one(&mut conn).await.unwrap();
    assert_eq!(left, [1, i64::from(answers), KEYS_OF_ONE_MAX]);
    let oldest = "select max(substr(key, 2)::int) from idempotency_key where principal = 'user:1'";
    assert_eq!(house.value_of(oldest).await, keys, "the oldest went");
    assert!(was_replayed(&house.make("k", "d").await), "another's stay");
}
