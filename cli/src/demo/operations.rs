//! What the demo asks of the system, in GraphQL, and what it reads out of the answers.

use anyhow::Context;
use rules::signature::{ID_HEADER, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, sign};
use serde_json::{Value, json};

use super::client::Client;
use crate::webhook::now_s;

/// A tenant, spoken to with an API key of its own.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) slug: String,
    id: String,
    client: Client,
    /// Who made it, and operates the installation.
    pub(super) admin: Client,
}

/// A listener as it was made.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) id: String,
    pub(super) secret: String,
    version: i64,
}

/// What a listener heard, as far as the demo looks.
#[derive(Debug)]
pub(super) struct Notice {
    /// The run that one of its actions started.
    pub(super) run: Option<String>,
}

/// A run, as far as the demo looks.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) status: String,
    pub(super) output: Value,
    pub(super) error: Option<String>,
}

/// A dead letter, as far as the demo looks.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) id: String,
    pub(super) attempts: i64,
    pub(super) error: String,
}

/// A run's log.
#[derive(Debug)]
pub(super) struct Log(Vec<Value>);

impl Tenant {
    /// Logs in, and makes a tenant and a key for it.
    pub(super) async fn make(nobody: &Client, email: &str, password: &str) -> anyhow::Result<Self> {
        let answer = nobody
            .graphql(
                "mutation($email: String!, $password: String!) { login(email: $email, password: $password) { token } }",
                json!({ "email": email, "password": password }),
            )
            .await
            .with_context(|| {
                format!(
                    "`{email}` cannot log in; where the password of `ADMIN_PASSWORD`, or the one that the first `up` \
                     kept, is no longer right, `millrace admin reset-password` makes a new one"
                )
            })?;
        let admin = nobody.with_token(&text(&answer, "/login/token")?);
        // Names are unique; a demo may be told again and again.
        let slug = format!("demo-{:08x}", rand::random::<u32>());
        let answer = admin
            .graphql(
                "mutation($slug: String!) { createTenant(slug: $slug, title: \"Demo\") { id } }",
                json!({ "slug": slug }),
            )
            .await?;
        let tenant = text(&answer, "/createTenant/id")?;
        let answer = admin
            .graphql(
                "mutation($tenant: ID!) { createApiKey(tenant: $tenant, title: \"demo\", role: ADMIN) { secret } }",
                json!({ "tenant": tenant }),
            )
            .await?;
        let client = nobody.with_key(&text(&answer, "/createApiKey/secret")?);
        Ok(Self { slug, id: tenant, client, admin })
    }

    /// Shuts it, as its administrator does: nobody enters it any more, and what happened in it stays to be looked at.
    pub(super) async fn disable(&self) -> anyhow::Result<()> {
        self.admin
            .graphql(
                "mutation($id: ID!) { setTenantEnabled(id: $id, enabled: false) { id } }",
                json!({ "id": self.id }),
            )
            .await?;
        Ok(())
    }

    pub(super) async fn create_workflow(&self, title: &str, definition: Value) -> anyhow::Result<String> {
        let answer = self
            .client
            .graphql(
                "mutation($title: String!, $definition: JSON!) {
                    createWorkflow(title: $title, definition: $definition) { id }
                }",
                json!({ "title": title, "definition": definition }),
            )
            .await?;
        text(&answer, "/createWorkflow/id")
    }

    /// Starts a run; the same key never starts a second one.
    pub(super) async fn execute(&self, workflow: &str, input: Value, key: &str) -> anyhow::Result<String> {
        let answer = self
            .client
            .graphql(
                "mutation($workflow: ID!, $input: JSON!, $key: String!) {
                    executeWorkflow(workflow: $workflow, input: $input, idempotencyKey: $key) { run { id } }
                }",
                json!({ "workflow": workflow, "input": input, "key": key }),
            )
            .await?;
        text(&answer, "/executeWorkflow/run/id")
    }

    pub(super) async fn run(&self, id: &str) -> anyhow::Result<Run> {
        let answer = self
            .client
            .graphql("query($id: ID!) { run(id: $id) { status output error } }", json!({ "id": id }))
            .await?;
        let run = &answer["run"];
        Ok(Run {
            status: text(run, "/status")?,
            output: run["output"].clone(),
            error: run["error"].as_str().map(str::to_owned),
        })
    }

    /// The ids of a workflow's runs.
    pub(super) async fn runs(&self, workflow: &str) -> anyhow::Result<Vec<String>> {
        let answer = self
            .client
            .graphql(
                "query($workflow: ID!) { runs(workflow: $workflow, first: 100) { nodes { id } } }",
                json!({ "workflow": workflow }),
            )
            .await?;
        list(&answer, "/runs/nodes")?.iter().map(|run| text(run, "/id")).collect()
    }

    pub(super) async fn log(&self, run: &str) -> anyhow::Result<Log> {
        let answer = self
            .client
            .graphql(
                "query($id: ID!) { run(id: $id) { log(first: 100) { nodes { node event } } } }",
                json!({ "id": run }),
            )
            .await?;
        Ok(Log(list(&answer, "/run/log/nodes")?.clone()))
    }

    pub(super) async fn create_listener(&self, path: &str, pipeline: Value) -> anyhow::Result<Listener> {
        let answer = self
            .client
            .graphql(
                "mutation($path: String!, $pipeline: JSON!) {
                    createListener(path: $path, title: $path, pipeline: $pipeline) { secret listener { id version } }
                }",
                json!({ "path": path, "pipeline": pipeline }),
            )
            .await?;
        let made = &answer["createListener"];
        let version = made["listener"]["version"].as_i64().context("the listener has no version")?;
        Ok(Listener { id: text(made, "/listener/id")?, secret: text(made, "/secret")?, version })
    }

    pub(super) async fn update_listener(&self, listener: &Listener, pipeline: Value) -> anyhow::Result<()> {
        self.client
            .graphql(
                "mutation($id: ID!, $version: Int!, $pipeline: JSON!) {
                    updateListener(id: $id, version: $version, pipeline: $pipeline) { id }
                }",
                json!({ "id": listener.id, "version": listener.version, "pipeline": pipeline }),
            )
            .await
            .map(drop)
    }

    /// Posts a signed delivery, as its sender would.
    pub(super) async fn deliver(
        &self,
        path: &str,
        secret: &str,
        delivery: &str,
        event: &Value,
    ) -> anyhow::Result<(u16, Value)> {
        let body = event.to_string().into_bytes();
        let secret = Secret::decode(secret).map_err(|fault| anyhow::anyhow!("the secret: {fault}"))?;
        let at = now_s();
        let signature = sign(&secret, delivery, at, &body)?;
        let at = at.to_string();
        let headers =
            [(ID_HEADER, delivery), (TIMESTAMP_HEADER, at.as_str()), (SIGNATURE_HEADER, signature.as_str())];
        let (status, answer) = self.client.stranger().post(path, &headers, body).await?;
        Ok((status.as_u16(), answer))
    }

    /// What a listener heard.
    pub(super) async fn notices(&self, listener: &str) -> anyhow::Result<Vec<Notice>> {
        let answer = self
            .client
            .graphql(
                "query($listener: ID!) {
                    notices(listener: $listener, first: 100) { nodes { id state actions { state run } } }
                }",
                json!({ "listener": listener }),
            )
            .await?;
        let nodes = list(&answer, "/notices/nodes")?;
        Ok(nodes
            .iter()
            .map(|notice| Notice {
                run: notice["actions"]
                    .as_array()
                    .and_then(|actions| actions.iter().find_map(|action| action["run"].as_str()))
                    .map(str::to_owned),
            })
            .collect())
    }

    /// How many events a buffer holds.
    pub(super) async fn buffered(&self, listener: &str, buffer: &str) -> anyhow::Result<usize> {
        let answer = self
            .client
            .graphql(
                "query($listener: ID!, $buffer: String!) {
                    bufferEvents(listener: $listener, buffer: $buffer, first: 100) { nodes { id } }
                }",
                json!({ "listener": listener, "buffer": buffer }),
            )
            .await?;
        list(&answer, "/bufferEvents/nodes").map(Vec::len)
    }

    pub(super) async fn dead_letters(&self) -> anyhow::Result<Vec<Dead>> {
        let answer = self
            .client
            .graphql("query { deadLetters(first: 100) { nodes { id attempt error } } }", json!({}))
            .await?;
        let nodes = list(&answer, "/deadLetters/nodes")?;
        nodes
            .iter()
            .map(|dead| {
                Ok(Dead {
                    id: text(dead, "/id")?,
                    attempts: dead["attempt"].as_i64().unwrap_or_default(),
                    error: text(dead, "/error")?,
                })
            })
            .collect()
    }

    pub(super) async fn redrive(&self, id: &str) -> anyhow::Result<()> {
        self.client
            .graphql("mutation($ids: [ID!]!) { redriveDeadLetters(ids: $ids) }", json!({ "ids": [id] }))
            .await
            .map(drop)
    }

    /// The steps that a worker has in hand, by job, in order.
    pub(super) async fn leases_of(&self, worker: &str) -> anyhow::Result<Vec<String>> {
        let answer = self
            .client
            .graphql(
                "query { jobs(state: LEASED, kind: \"run.node\", first: 100) { nodes { id workerId } } }",
                json!({}),
            )
            .await?;
        let nodes = list(&answer, "/jobs/nodes")?;
        nodes.iter().filter(|job| job["workerId"] == worker).map(|job| text(job, "/id")).collect()
    }

    /// How a job ended: its state, the workers that died under it, and who did it in the end.
    pub(super) async fn job(&self, id: &str) -> anyhow::Result<(String, i64, String)> {
        let answer = self
            .client
            .graphql("query($id: ID!) { job(id: $id) { state crashes workerId } }", json!({ "id": id }))
            .await?;
        let job = &answer["job"];
        let crashes = job["crashes"].as_i64().context("the job has no count of crashes")?;
        Ok((text(job, "/state")?, crashes, text(job, "/workerId")?))
    }
}

impl Tenant {
    /// Asks something of a machine by the mutation of that name, and gives the operation's id.
    pub(super) async fn ask_of_machine(&self, mutation: &str, machine: &str) -> anyhow::Result<String> {
        let query = format!("mutation($id: ID!) {{ {mutation}(id: $id) {{ operation {{ id }} }} }}");
        let answer = self.client.graphql(&query, json!({ "id": machine })).await?;
        text(&answer, &format!("/{mutation}/operation/id"))
    }

    pub(super) async fn machine(&self, id: &str) -> anyhow::Result<Value> {
        let query = "query($id: ID!) { machine(id: $id) { name host wanted seen } }";
        Ok(self.client.graphql(query, json!({ "id": id })).await?["machine"].clone())
    }

    /// How many machines the tenant has.
    pub(super) async fn machines(&self) -> anyhow::Result<usize> {
        let answer =
            self.client.graphql("query { machines(first: 100) { nodes { id } } }", json!({})).await?;
        list(&answer, "/machines/nodes").map(Vec::len)
    }

    pub(super) async fn snapshots(&self, machine: &str) -> anyhow::Result<Value> {
        let query = "query($id: ID!) { machineSnapshots(machineId: $id) { name state } }";
        Ok(self.client.graphql(query, json!({ "id": machine })).await?["machineSnapshots"].clone())
    }

    /// What was asked of a machine, newest first.
    pub(super) async fn machine_operations(&self, machine: &str) -> anyhow::Result<Vec<Value>> {
        let query = "query($id: ID!) { machineOperations(machineId: $id, first: 100) {
            nodes { id action state error createdAt startedAt endedAt } } }";
        let answer = self.client.graphql(query, json!({ "id": machine })).await?;
        list(&answer, "/machineOperations/nodes").cloned()
    }

    /// The health of a machine as a whole.
    pub(super) async fn health(&self, machine: &str) -> anyhow::Result<String> {
        let query = "query($id: ID!) { getVMHealthStatus(vmId: $id) { status } }";
        text(&self.client.graphql(query, json!({ "id": machine })).await?, "/getVMHealthStatus/status")
    }
}

impl Run {
    /// Whether it goes on.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.status.as_str(), "PENDING" | "RUNNING")
    }
}

impl Log {
    /// How often a node completed.
    pub(super) fn completions(&self, node: &str) -> usize {
        self.0.iter().filter(|line| line["node"] == node && line["event"] == "node.succeeded").count()
    }
}

pub(super) fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("the answer has no text at `{pointer}`: {value}"))
}

pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a Vec<Value>> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.with_context(|| format!("the answer has no list at `{pointer}`: {value}"))
}
