//! `millrace up` on a disk that is full: at the start it is refused before anything is made, with the reason
//! and the remedy; later what comes is refused until there is room again, and nothing accepted is lost.
//!
//! The disk is a small file system in memory, mounted in a mount namespace of the process' own, which needs
//! root; without that right the test says so and looks at nothing.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rules::signature::{self, Secret};
use serde_json::{Value, json};
use tests::http::{Answer, send};
use tests::{Millrace, process, wait};

/// Less than a start needs.
const SMALL: &str = "size=64m";

/// Enough for a start, and little to fill.
const ENOUGH: &str = "size=700m";

/// What runs in the namespace: the mount, then what follows as its arguments.
const MOUNTED: &str = r#"mount -t tmpfs -o "$1" millrace-test "$2" && shift 2 && exec "$@""#;

/// `millrace up` with a home on a file system of its own; none where this machine does not allow that.
fn up_on(size: &str, folder: &Path) -> Option<Command> {
    let mounting = |what: &[&str]| {
        let mut command = Command::new("unshare");
        let mount = folder.to_str().expect("text");
        command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNTED, "sh", size, mount]);
        command.args(what).stdin(Stdio::null());
        command
    };
    match mounting(&["true"]).output() {
        Ok(tried) if tried.status.success() => {}
        Ok(tried) => {
            let why = String::from_utf8_lossy(&tried.stderr);
            tests::tell(&format!("NOT TESTED: the full disk: no mount here: {why}"));
            return None;
        }
        Err(error) => {
            tests::tell(&format!("NOT TESTED: the full disk: `unshare` cannot be started: {error}"));
            return None;
        }
    }
    let binary = process::binary();
    let mut command = mounting(&[binary.to_str().expect("text"), "up"]);
    command.env("MILLRACE_HOME", folder.join("home")).env("PORT", "0").env_remove("DATABASE_URL");
    Some(command)
}

#[tokio::test]
async fn a_start_on_a_disk_without_room_is_refused_with_the_remedy() {
    let folder = tempfile::Builder::new().prefix("millrace-disk-").tempdir_in("/tmp").unwrap();
    let Some(mut command) = up_on(SMALL, folder.path()) else { return };
    let mut up = Millrace::spawn(&mut command);
    let ended = up.ended(Duration::from_secs(60)).await;
    let told = up.log();
    assert_eq!(ended.code(), Some(1), "{told}");
    for said in ["the disk of", "has 6", "MB free and a start needs 512 MB", "free some space"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(!told.contains("millrace is up"), "{told}");
}

/// Somebody who starts runs.
struct Asker {
    address: SocketAddr,
    token: String,
    tenant: String,
    workflow: String,
    /// The secret of the listener at the path `full`.
    secret: Secret,
}

impl Asker {
    async fn ask(&self, query: &str, variables: Value) -> Answer {
        let body = json!({"query": query, "variables": variables}).to_string();
        let bearer = format!("Bearer {}", self.token);
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        send(
            self.address,
            "POST",
            "/graphql",
            &headers[..if self.token.is_empty() { 1 } else { 2 }],
            body.as_bytes(),
        )
        .await
    }

    async fn ok(&self, query: &str, variables: Value) -> Value {
        let answer = self.ask(query, variables).await.json();
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"].clone()
    }

    /// Logs in, and makes a tenant with a workflow.
    async fn enter(address: SocketAddr, password: &str) -> Self {
        let nothing = String::new;
        let (token, tenant, workflow) = (nothing(), nothing(), nothing());
        let mut asker = Self { address, token, tenant, workflow, secret: Secret::of(&[0; 64]) };
        let login = "mutation($p: String!) { login(email: \"admin@localhost\", password: $p) { token } }";
        let told = asker.ok(login, json!({"p": password})).await;
        asker.token = told["login"]["token"].as_str().unwrap().to_owned();
        let make = "mutation { createTenant(slug: \"full\", title: \"Full\") { id } }";
        asker.tenant = asker.ok(make, json!({})).await["createTenant"]["id"].as_str().unwrap().to_owned();
        let definition = json!({
            "nodes": [
                {"id": "s", "type": "start"},
                {"id": "n", "type": "script", "config": {"code": "ctx.input.n", "outputVariable": "n"}},
                {"id": "e", "type": "end", "config": {"outputParameters": [{"name": "n", "sourceVariable": "{{ctx.n}}"}]}}
            ],
            "edges": [{"source": "s", "target": "n"}, {"source": "n", "target": "e"}]});
        let make = "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"Full\", definition: $d) { id } }";
        let told = asker.ok(make, json!({"t": asker.tenant, "d": definition})).await;
        asker.workflow = told["createWorkflow"]["id"].as_str().unwrap().to_owned();
        let pipeline = json!({"actions": [{"type": "save_to_buffer"}]});
        let listen = "mutation($t: ID!, $p: JSON!) { createListener(tenant: $t, path: \"full\", title: \"Full\", pipeline: $p) { secret } }";
        let told = asker.ok(listen, json!({"t": asker.tenant, "p": pipeline})).await;
        asker.secret = Secret::decode(told["createListener"]["secret"].as_str().unwrap()).unwrap();
        asker
    }

    /// Delivers an event that fills the disk a little more.
    async fn deliver(&self, id: &str) -> Answer {
        let body = json!({"id": id, "ballast": ballast()}).to_string();
        let at = now_s();
        let signed = signature::sign(&self.secret, id, at, body.as_bytes()).unwrap();
        let at = at.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", id),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signed.as_str()),
        ];
        send(self.address, "POST", "/hooks/full/full", &headers, body.as_bytes()).await
    }

    /// Starts a run that fills the disk a little more: its id, or the code and words of the refusal.
    async fn start(&self, n: usize) -> Result<String, (String, String)> {
        let start = "mutation($t: ID!, $w: ID!, $i: JSON!, $k: String!) {
            executeWorkflow(tenant: $t, workflow: $w, input: $i, idempotencyKey: $k) { run { id } } }";
        let variables = json!({"t": self.tenant, "w": self.workflow, "i": {"n": n, "ballast": ballast()}, "k": format!("run-{n}")});
        let answer = self.ask(start, variables).await.json();
        match answer["data"]["executeWorkflow"]["run"]["id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => {
                let error = &answer["errors"][0];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                Err((text(&error["extensions"]["code"]), text(&error["message"])))
            }
        }
    }

    async fn status(&self, run: &str) -> Option<String> {
        let look = "query($t: ID!, $r: ID!) { run(tenant: $t, id: $r) { status output } }";
        let told = self.ask(look, json!({"t": self.tenant, "r": run})).await.json();
        told["data"]["run"]["status"].as_str().map(str::to_owned)
    }
}

/// Letters that no compression makes few.
fn ballast() -> String {
    (0..2_000).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect()
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Writes into a file until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let block = vec![7u8; 64 << 10];
    while file.write_all(&block).is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_under_work_refuses_the_new_and_keeps_the_accepted() {
    let folder = tempfile::Builder::new().prefix("millrace-disk-").tempdir_in("/tmp").unwrap();
    let Some(mut command) = up_on(ENOUGH, folder.path()) else { return };
    let mut up = Millrace::spawn(&mut command);
    up.printed("millrace is up").await;
    // Its file system is its own; the kernel shows it to root below its process.
    let inside = PathBuf::from(format!("/proc/{}/root{}", up.pid(), folder.path().display()));
    let read =
        |name: &str| std::fs::read_to_string(inside.join("home").join(name)).unwrap().trim().to_owned();
    let asker = Asker::enter(read("address").parse().unwrap(), &read("admin-password")).await;
    let mut accepted = vec![asker.start(0).await.unwrap()];

    let ballast = inside.join("ballast");
    fill(&ballast);
    let mut refused = Vec::new();
    for n in 1..5_000 {
        match asker.start(n).await {
            Ok(run) => accepted.push(run),
            Err(refusal) => refused.push(refusal),
        }
        if refused.len() == 20 {
            break;
        }
    }
    assert_eq!(refused.len(), 20, "the disk never filled: {} were accepted", accepted.len());
    for (code, told) in &refused {
        assert_eq!(code, "UNAVAILABLE", "{told}");
        assert!(told.contains("try again"), "{told}");
    }
    // The other door, too: come back later, and nothing of it is kept.
    let (mut taken, mut turned_away) = (Vec::new(), Vec::new());
    for n in 0..500 {
        let id = format!("msg-{n}");
        let answer = asker.deliver(&id).await;
        if answer.status == 202 {
            taken.push(id);
            continue;
        }
        assert_eq!(answer.status, 503, "{}", answer.text);
        let after: u64 = answer.header("retry-after").expect("a time to come back").parse().unwrap();
        assert!(after > 0 && answer.text.contains("try again"), "{}", answer.text);
        turned_away.push(id);
        if turned_away.len() == 5 {
            break;
        }
    }
    assert_eq!(turned_away.len(), 5, "the disk never filled: {} were taken", taken.len());
    assert!(up.is_running(), "{}", up.log());

    std::fs::remove_file(&ballast).unwrap();
    let again = wait::value("runs are accepted again", || async { asker.start(6_000).await.ok() }).await;
    accepted.push(again);
    for (ids, known) in [(&taken, true), (&turned_away, false)] {
        for id in ids {
            let answer = asker.deliver(id).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            assert_eq!(answer.json()["duplicate"] == json!(true), known, "{id}");
        }
    }
    println!("{} accepted, {} refused while the disk was full", accepted.len(), refused.len());
    for run in &accepted {
        wait::until("an accepted run ends well", || async {
            asker.status(run).await.as_deref() == Some("COMPLETED")
        })
        .await;
    }
    assert!(up.stop(Duration::from_secs(60)).await.success(), "{}", up.log());
}
