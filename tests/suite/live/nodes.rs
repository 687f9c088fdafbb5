//! Three nodes of the API with clients of every kind at each, through the loss of nodes and of Postgres.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobs::db::PgConnection;
use serde_json::{Value, json};
use sqlx::Connection;
use tests::{Database, Door, Postgres, door, fault, wait};
use tokio_util::sync::CancellationToken;

use super::listen::{DEPARTMENT, department};
use super::npm::{GRAPHQL, Line, Npm, SOCKET_IO, key};
use crate::api_identity::tenant;

/// How many more events of each department all hear before the next thing breaks.
const STEP: u64 = 15;

/// How soon after an event the next one of its department is written.
const PACE: Duration = Duration::from_millis(10);

/// One client hears of one department: over which library, which of its clients, and of what.
type Way = (&'static str, usize, String);

/// All clients, and what they have heard.
struct Crowd {
    graphql: Npm,
    socket_io: Npm,
    joined: BTreeSet<Way>,
    heard: BTreeMap<Way, Vec<u64>>,
    /// How often one of them was cut off.
    cut: usize,
}

impl Crowd {
    /// Takes in what one of them tells.
    async fn hear(&mut self) {
        let (kind, line) = tokio::select! {
            line = self.graphql.next() => ("graphql", line),
            line = self.socket_io.next() => ("socket.io", line),
        };
        let Line { who, what, told } = line;
        let of_room =
            |room: &Value| room.as_str().and_then(|room| room.strip_prefix("department:")).map(str::to_owned);
        match what.as_str() {
            "closed" | "disconnect" => self.cut += 1,
            "connected" | "parted" | "over" | "connect_error" => {}
            "join" if told["status"] == "success" => {
                self.joined.insert((kind, who, of_room(&told["data"]["room"]).unwrap()));
            }
            "join" => assert_eq!(told["error"]["code"], "UNAVAILABLE", "{told}"),
            _ if told["name"] == "joined" => {
                self.joined.insert((kind, who, what));
            }
            _ => {
                let of = of_room(&told["room"]).unwrap_or(what);
                let name = told["data"]["name"].as_str().unwrap_or_else(|| panic!("{of}: {told}"));
                let n = name.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap();
                self.heard.entry((kind, who, of)).or_default().push(n);
            }
        }
    }

    /// Waits until so many of them are in.
    async fn are_in(&mut self, ways: usize) {
        while self.joined.len() < ways {
            self.hear().await;
        }
    }

    /// Waits until all of them have heard of so many events.
    async fn have_heard(&mut self, events: u64) {
        let began = Instant::now();
        let behind = |heard: &Vec<u64>| heard.last().is_none_or(|last| *last < events);
        while self.heard.len() < self.joined.len() || self.heard.values().any(behind) {
            self.hear().await;
            let stand = || self.heard.iter().map(|(way, heard)| (way, heard.last())).collect::<Vec<_>>();
            assert!(began.elapsed() < wait::LIMIT, "not all have heard of {events}: {:?}", stand());
        }
    }
}

/// Gives a department one name after the other, each once whatever becomes of the server, until it is told to stop. Tells
/// how many there were.
async fn write(url: String, id: String, written: Arc<AtomicU64>, stop: CancellationToken) -> u64 {
    let (mut held, mut pace, mut n) = (None, tokio::time::interval(PACE), 0);
    while !stop.is_cancelled() {
        pace.tick().await;
        let writing = async {
            let conn = match &mut held {
                Some(conn) => conn,
                None => held.insert(PgConnection::connect(&url).await?),
            };
            // Where the answer was lost it is asked for again, and changes nothing if it was done.
            let name = format!("{id} {}", n + 1);
            let rename = "update department set name = $2 where id = $1::text::uuid and name <> $2";
            sqlx::query(rename).bind(&id).bind(name).execute(&mut *conn).await?;
            sqlx::query("select pg_notify('millrace_event', 'news')").execute(conn).await
        };
        if writing.await.is_ok() {
            n += 1;
            written.fetch_max(n, Ordering::Relaxed);
        } else {
            held = None;
        }
    }
    n
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_killed_and_a_postgres_that_dies_cost_nobody_an_event() {
    if !(Npm::is_there(GRAPHQL) && Npm::is_there(SOCKET_IO)) {
        return;
    }
    let own = Postgres::own().await;
    let database = Database::on(&own.postgres).await;
    let mut nodes = [(); 3].map(|()| door::process(&database, &[]));
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let ids = [department(&admin, &acme, "D").await, department(&admin, &acme, "E").await];
    let key = key(&admin, &acme).await;
    door.close().await;
    let mut addresses = Vec::new();
    for node in &mut nodes {
        addresses.push(node.listening().await);
    }

    let over = |kind: &str| {
        let headers = json!({"X-API-Key": key});
        [0, 1, 2].map(|start| json!({"kind": kind, "start": start, "headers": headers}))
    };
    let of_graphql = [over("graphql-ws"), over("graphql-sse")].concat();
    let of_rooms = [0, 1, 2].map(|start| json!({"start": start, "auth": {"apiKey": key}}));
    let graphql = json!({
        "addresses": addresses,
        "query": DEPARTMENT,
        "subjects": ids.clone().map(|id| json!({"t": acme, "id": id})),
        "clients": of_graphql,
    });
    let socket_io = json!({
        "addresses": addresses,
        "rooms": ids.clone().map(|id| format!("department:{}", id.as_str().unwrap())),
        "clients": of_rooms,
    });
    let (graphql, socket_io) = (Npm::start(GRAPHQL, &graphql), Npm::start(SOCKET_IO, &socket_io));
    let mut crowd = Crowd { graphql, socket_io, joined: BTreeSet::new(), heard: BTreeMap::new(), cut: 0 };
    let ways = 3 * 3 * ids.len();
    crowd.are_in(ways).await;

    let (written, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let writers = ids.clone().map(|id| {
        let (url, id) = (database.url().to_owned(), id.as_str().unwrap().to_owned());
        tokio::spawn(write(url, id, Arc::clone(&written), stop.clone()))
    });
    crowd.have_heard(STEP).await;
    nodes[0].kill();
    crowd.have_heard(written.load(Ordering::Relaxed) + STEP).await;
    assert!(crowd.cut >= 3, "its clients had to come again");
    // Whoever is at this one comes again while nobody can be asked who they are.
    fault::kill_postgres(&own);
    nodes[1].kill();
    own.restart().await;
    crowd.have_heard(written.load(Ordering::Relaxed) + STEP).await;
    stop.cancel();
    let mut all = BTreeMap::new();
    for (id, writer) in ids.iter().zip(writers) {
        all.insert(id.as_str().unwrap().to_owned(), writer.await.unwrap());
    }
    crowd.have_heard(*all.values().min().unwrap()).await;
    while crowd.heard.iter().any(|((_, _, of), heard)| heard.last() != Some(&all[of])) {
        crowd.hear().await;
    }
    assert_eq!(crowd.heard.len(), ways);
    for (way, heard) in &crowd.heard {
        let expected: Vec<u64> = (1..=all[&way.2]).collect();
        assert_eq!(*heard, expected, "{way:?}");
    }
}
