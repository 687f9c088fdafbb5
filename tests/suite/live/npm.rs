//! The clients that others have written hear all of a subject, wherever they are sent.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tests::{Client, Database, Door, wait};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::listen::{DEPARTMENT, department, rename};
use crate::api_identity::tenant;

/// Packages of clients, as `.ci/npm` puts them beside the build: the folder, and one that is there when all are.
pub(super) const SOCKET_IO: (&str, &str) = ("socketio", "socket.io-client");
pub(super) const GRAPHQL: (&str, &str) = ("graphql-live", "graphql-ws");

/// Clients of a library of npm, all in one process, which ends when dropped.
pub(super) struct Npm {
    process: Child,
    lines: UnboundedReceiver<Line>,
    waiting: VecDeque<Line>,
}

/// What one of them tells.
#[derive(Debug)]
pub(super) struct Line {
    /// Which of them.
    pub(super) who: usize,
    pub(super) what: String,
    pub(super) told: Value,
}

impl Npm {
    /// Whether they are installed. Where they are not, it is said.
    pub(super) fn is_there((folder, package): (&str, &str)) -> bool {
        let there = place(folder).join("node_modules").join(package).is_dir();
        if !there {
            tests::tell(&format!(
                "SKIPPED, {package}: `.ci/npm` installs it, and needs node and npm for that"
            ));
        }
        there
    }

    /// Starts them.
    pub(super) fn start((folder, _): (&str, &str), asked: &Value) -> Self {
        let mut process = Command::new("node")
            .arg("client.mjs")
            .arg(asked.to_string())
            .current_dir(place(folder))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, lines) = unbounded_channel();
        let read = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in read.lines().map_while(Result::ok) {
                let mut line: Value = serde_json::from_str(&line).unwrap();
                let who = line["who"].as_u64().and_then(|who| usize::try_from(who).ok()).unwrap();
                let what = line["what"].as_str().unwrap().to_owned();
                if said.send(Line { who, what, told: line["told"].take() }).is_err() {
                    return;
                }
            }
        });
        Self { process, lines, waiting: VecDeque::new() }
    }

    /// What any of them tells next.
    pub(super) async fn next(&mut self) -> Line {
        match self.waiting.pop_front() {
            Some(line) => line,
            None => self.heard().await,
        }
    }

    async fn heard(&mut self) -> Line {
        let line = tokio::time::timeout(wait::LIMIT, self.lines.recv()).await.expect("it says something");
        line.expect("it runs")
    }

    /// What one of them tells next, which is this.
    async fn told(&mut self, who: usize, what: &str) -> Value {
        let line = match self.waiting.iter().position(|line| line.who == who) {
            Some(place) => self.waiting.remove(place).unwrap(),
            None => loop {
                let line = self.heard().await;
                if line.who == who {
                    break line;
                }
                self.waiting.push_back(line);
            },
        };
        assert_eq!(line.what, what, "{line:?}");
        line.told
    }
}

impl Drop for Npm {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn place(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(folder)
}

/// A key of a tenant, which clients show.
pub(super) async fn key(admin: &Client, tenant: &Value) -> Value {
    let made = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", role: ADMIN) { secret } }";
    admin.ok(made, json!({"t": tenant})).await["createApiKey"]["secret"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_io_hears_each_event_once_and_in_order_across_two_processes() {
    if !Npm::is_there(SOCKET_IO) {
        return;
    }
    let database = Database::new().await;
    let (door, other) = (Door::open(&database).await, Door::open(&database).await);
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let id = department(&admin, &acme, "D").await;
    let addresses = [&door, &other].map(|door| door.address);
    let rooms = [format!("department:{}", id.as_str().unwrap())];
    let key = key(&admin, &acme).await;
    let [known, refused] = [0, 1];
    let clients = json!([{"start": 0, "auth": {"apiKey": key}}, {"start": 0, "auth": {"token": "x"}}]);
    let asked = json!({"addresses": addresses, "rooms": rooms, "tenant": acme, "clients": clients});
    let mut npm = Npm::start(SOCKET_IO, &asked);
    let told = npm.told(refused, "connect_error").await;
    assert!(told.as_str().unwrap().starts_with("UNAUTHENTICATED: "), "{told}");
    assert_eq!(npm.told(known, "connected").await["status"], "success");
    assert_eq!(npm.told(known, "join").await["status"], "success");
    let admin = admin.to(&other);
    let event = "department:departments:update";
    for n in 1..=3 {
        rename(&admin, &acme, &id, &n.to_string()).await;
    }
    for n in 1..=3 {
        assert_eq!(npm.told(known, event).await["data"]["name"], n.to_string());
    }
    door.begin_close();
    assert_eq!(npm.told(known, "parted").await["error"]["code"], "RESTARTING");
    for n in 4..=6 {
        rename(&admin, &acme, &id, &n.to_string()).await;
    }
    assert_eq!(npm.told(known, "disconnect").await, "transport close");
    assert_eq!(npm.told(known, "connected").await["status"], "success");
    assert_eq!(npm.told(known, "join").await["status"], "success");
    for n in 4..=6 {
        assert_eq!(npm.told(known, event).await["data"]["name"], n.to_string());
    }
    rename(&admin, &acme, &id, "7").await;
    assert_eq!(npm.told(known, event).await["data"]["name"], "7");
    drop(npm);
    door.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_ws_and_graphql_sse_hear_each_event_once_and_in_order_across_two_processes() {
    if !Npm::is_there(GRAPHQL) {
        return;
    }
    let database = Database::new().await;
    let (door, other) = (Door::open(&database).await, Door::open(&database).await);
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let id = department(&admin, &acme, "D").await;
    let addresses = [&door, &other].map(|door| door.address);
    let key = key(&admin, &acme).await;
    let (shown, bad) = (json!({"X-API-Key": key}), json!({"X-API-Key": "x"}));
    let (all, refused) = ([0, 1], [2, 3]);
    let clients = json!([
        {"kind": "graphql-ws", "start": 0, "headers": shown},
        {"kind": "graphql-sse", "start": 0, "headers": shown},
        {"kind": "graphql-ws", "start": 0, "headers": bad, "attempts": 0},
        {"kind": "graphql-sse", "start": 0, "headers": bad, "attempts": 0},
    ]);
    let subjects = json!([{"t": acme, "id": id}]);
    let asked =
        json!({"addresses": addresses, "query": DEPARTMENT, "subjects": subjects, "clients": clients});
    let mut npm = Npm::start(GRAPHQL, &asked);
    let event = id.as_str().unwrap();
    assert_eq!(npm.told(refused[0], "closed").await, 4401);
    for who in refused {
        assert_eq!(npm.told(who, "over").await, "UNAUTHENTICATED");
    }
    for who in all {
        assert_eq!(npm.told(who, event).await["name"], "joined");
    }
    let admin = admin.to(&other);
    for n in 1..=3 {
        rename(&admin, &acme, &id, &n.to_string()).await;
    }
    for (who, n) in all.into_iter().flat_map(|who| (1..=3).map(move |n| (who, n))) {
        assert_eq!(npm.told(who, event).await["data"]["name"], n.to_string());
    }
    // Both connect again by themselves, elsewhere and with the cursor that they were given last.
    door.begin_close();
    for (who, code) in all.into_iter().zip([json!(1012), Value::Null]) {
        assert_eq!(npm.told(who, "closed").await, code);
    }
    for n in 4..=6 {
        rename(&admin, &acme, &id, &n.to_string()).await;
    }
    for (who, n) in all.into_iter().flat_map(|who| (4..=6).map(move |n| (who, n))) {
        assert_eq!(npm.told(who, event).await["data"]["name"], n.to_string());
    }
    rename(&admin, &acme, &id, "7").await;
    for who in all {
        assert_eq!(npm.told(who, event).await["data"]["name"], "7");
    }
    drop(npm);
    door.close().await;
    other.close().await;
}
