//! Machines over the API: made, switched, kept in snapshots, and nobody else's.

use std::sync::Arc;
use std::time::Duration;

use rules::id::MachineId;
use serde_json::{Value, json};
use tests::{Client, Database, Door, Hands, wait};
use workers::hypervisor::{Hypervisor, Simulated};
use workers::{HostConfig, WorkerConfig};

use crate::api_identity::{join, tenant};

const CREATE: &str = "mutation($t: ID!, $i: CreateMachineInput!) { createMachine(tenant: $t, input: $i) {
    machine { id name host wanted seen } operation { id action state } } }";
const LOOK: &str =
    "query($t: ID!, $id: ID!) { machine(tenant: $t, id: $id) { wanted seen drift departmentId host } }";
const OPERATION: &str =
    "query($t: ID!, $id: ID!) { machineOperation(tenant: $t, id: $id) { state error supersededBy } }";

/// Every operation of machines within a tenant, with the thing that it names by id.
pub(crate) const OPERATIONS: [(&str, &str); 40] = [
    ("", "query($t: ID) { departments(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { findDepartmentByName(tenant: $t, name: \"D\") { id } }"),
    ("department", "query($t: ID, $id: ID!) { department(tenant: $t, id: $id) { id } }"),
    ("", "mutation($t: ID) { createDepartment(tenant: $t, name: \"X\") { id } }"),
    (
        "department",
        "mutation($t: ID, $id: ID!) { updateDepartmentName(tenant: $t, id: $id, name: \"Y\") { id } }",
    ),
    ("department", "mutation($t: ID, $id: ID!) { destroyDepartment(tenant: $t, id: $id) }"),
    ("", "query($t: ID) { machines(tenant: $t) { nodes { id } } }"),
    ("machine", "query($t: ID, $id: ID!) { machine(tenant: $t, id: $id) { id } }"),
    ("operation", "query($t: ID, $id: ID!) { machineOperation(tenant: $t, id: $id) { id } }"),
    ("machine", "query($t: ID, $id: ID!) { machineOperations(tenant: $t, machineId: $id) { nodes { id } } }"),
    ("machine", "query($t: ID, $id: ID!) { whyMachineWaits(tenant: $t, machineId: $id) { code } }"),
    ("machine", "query($t: ID, $id: ID!) { machineSnapshots(tenant: $t, machineId: $id) { name } }"),
    ("machine", "query($t: ID, $id: ID!) { currentSnapshot(tenant: $t, machineId: $id) { name } }"),
    (
        "department",
        "mutation($t: ID, $id: ID!) { createMachine(tenant: $t, input: {name: \"x\", os: UBUNTU, host: \"a\", departmentId: $id}) { machine { id } } }",
    ),
    ("machine", "mutation($t: ID, $id: ID!) { moveMachine(tenant: $t, id: $id, host: \"a\") { id } }"),
    ("machine", "mutation($t: ID, $id: ID!) { powerOn(tenant: $t, id: $id) { operation { id } } }"),
    ("machine", "mutation($t: ID, $id: ID!) { powerOff(tenant: $t, id: $id) { operation { id } } }"),
    ("machine", "mutation($t: ID, $id: ID!) { forcePowerOff(tenant: $t, id: $id) { operation { id } } }"),
    ("machine", "mutation($t: ID, $id: ID!) { restartMachine(tenant: $t, id: $id) { operation { id } } }"),
    ("machine", "mutation($t: ID, $id: ID!) { resetMachine(tenant: $t, id: $id) { operation { id } } }"),
    ("machine", "mutation($t: ID, $id: ID!) { suspend(tenant: $t, id: $id) { operation { id } } }"),
    ("machine", "mutation($t: ID, $id: ID!) { resume(tenant: $t, id: $id) { operation { id } } }"),
    // Of each machine it tells as of what never was, without being refused as a whole.
    ("", "mutation($t: ID) { powerMachines(tenant: $t, ids: [\"1\"], operation: RESUME) { code } }"),
    ("machine", "mutation($t: ID, $id: ID!) { destroyMachine(tenant: $t, id: $id) { operation { id } } }"),
    (
        "machine",
        "mutation($t: ID, $id: ID!) { createSnapshot(tenant: $t, machineId: $id, name: \"s\") { operation { id } } }",
    ),
    (
        "machine",
        "mutation($t: ID, $id: ID!) { restoreSnapshot(tenant: $t, machineId: $id, snapshotName: \"s\") { operation { id } } }",
    ),
    (
        "machine",
        "mutation($t: ID, $id: ID!) { forceRestoreSnapshot(tenant: $t, machineId: $id, snapshotName: \"s\") { operation { id } } }",
    ),
    (
        "machine",
        "mutation($t: ID, $id: ID!) { deleteSnapshot(tenant: $t, machineId: $id, snapshotName: \"s\") { operation { id } } }",
    ),
    ("machine", "query($t: ID, $id: ID!) { getVMHealthStatus(tenant: $t, vmId: $id) { status } }"),
    ("machine", "query($t: ID, $id: ID!) { latestVMHealthSnapshot(tenant: $t, machineId: $id) { name } }"),
    ("machine", "query($t: ID, $id: ID!) { getLatestVMHealth(tenant: $t, machineId: $id) { name } }"),
    ("machine", "query($t: ID, $id: ID!) { checkVMDiskSpace(tenant: $t, vmId: $id) { verdict } }"),
    ("machine", "query($t: ID, $id: ID!) { vmHealthHistory(tenant: $t, machineId: $id) { nodes { name } } }"),
    ("machine", "query($t: ID, $id: ID!) { vmHealthStats(tenant: $t, machineId: $id) { name } }"),
    ("machine", "query($t: ID, $id: ID!) { vmHealthCheckQueue(tenant: $t, machineId: $id) { name } }"),
    ("", "query($t: ID) { healthStatistics(tenant: $t) { machines } }"),
    (
        "machine",
        "mutation($t: ID, $id: ID!) { runHealthCheck(tenant: $t, vmId: $id, checkName: STATE) { jobId } }",
    ),
    (
        "machine",
        "mutation($t: ID, $id: ID!) { queueAllVMHealthChecks(tenant: $t, machineId: $id) { jobId } }",
    ),
    ("", "mutation($t: ID) { triggerHealthCheckRound(tenant: $t) }"),
    (
        "machine",
        "mutation($t: ID, $id: ID!) { setHealthCheck(tenant: $t, machineId: $id, checkName: STATE, enabled: true) { name } }",
    ),
];

/// A department, a machine and an operation of this tenant, by kind. Nobody serves the machine's host.
pub(crate) async fn belongings(
    database: &Database,
    admin: &Client,
    acme: &Value,
) -> [(&'static str, Value); 3] {
    let mut conn = database.desk().await;
    let (name, uri) = ("a".parse().unwrap(), "test:///default".parse().unwrap());
    jobs::host::store::register(&mut conn, &name, &uri, 1, 1).await.unwrap();
    // As its worker would say of it.
    sqlx::query("update host set cpus = 8, memory_mib = 4096").execute(&mut *conn).await.unwrap();
    let make = "mutation($t: ID!) { createDepartment(tenant: $t, name: \"D\") { id } }";
    let department = admin.ok(make, json!({"t": acme})).await["createDepartment"]["id"].clone();
    let input = json!({"name": "theirs", "os": "UBUNTU", "host": "a", "departmentId": department});
    let made = admin.ok(CREATE, json!({"t": acme, "i": input})).await["createMachine"].clone();
    let (machine, operation) = (made["machine"]["id"].clone(), made["operation"]["id"].clone());
    [("department", department), ("machine", machine), ("operation", operation)]
}

/// A tenant with a simulated host, behind the API.
pub(crate) struct Stage {
    database: Database,
    pub(crate) door: Door,
    pub(crate) admin: Client,
    pub(crate) acme: Value,
    pub(crate) host: Simulated,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        let door = Door::open(&database).await;
        let admin = door.admin().await;
        let acme = tenant(&admin, "acme").await;
        let host = Simulated::new("a", 8, 4096, Duration::from_millis(200));
        Self { database, door, admin, acme, host }
    }

    pub(crate) async fn serve(&self) -> Hands {
        let config = WorkerConfig {
            hosts: vec![HostConfig {
                name: "a".parse().unwrap(),
                uri: "test:///default".parse().unwrap(),
                vm_slots: 2,
                health_slots: 1,
                hypervisor: Arc::new(self.host.clone()),
            }],
            ..WorkerConfig::of_pools(vec![], 4, Duration::from_secs(5))
        };
        let hands = Hands::with(self.database.pool().await, config);
        wait::until("the host is online", async || {
            let told = self.admin.ok("{ hosts { name state cpus } }", json!({})).await;
            told["hosts"][0]["state"] == "ONLINE" && told["hosts"][0]["cpus"] == 8
        })
        .await;
        hands
    }

    /// Waits for an operation's end.
    pub(crate) async fn ended(&self, id: &Value) -> Value {
        let mut last = Value::Null;
        wait::until(&format!("operation {id} ends"), async || {
            let told = self.admin.ok(OPERATION, json!({"t": self.acme, "id": id})).await;
            let state = told["machineOperation"]["state"].as_str().unwrap().to_owned();
            !matches!(state.as_str(), "WAITING" | "RUNNING")
        })
        .await;
        let told = self.admin.ok(OPERATION, json!({"t": self.acme, "id": id})).await;
        last.clone_from(&told["machineOperation"]);
        last
    }

    pub(crate) async fn create(&self, name: &str) -> Value {
        let input = json!({"name": name, "os": "UBUNTU", "vcpus": 1, "memoryMib": 64, "diskGib": 1});
        let made = self.admin.ok(CREATE, json!({"t": self.acme, "i": input})).await;
        assert_eq!(self.ended(&made["createMachine"]["operation"]["id"]).await["state"], "SUCCEEDED");
        made["createMachine"]["machine"]["id"].clone()
    }

    /// Asks something of a machine by the operation of that name, and waits until it is done.
    async fn done(&self, operation: &str, id: &Value) {
        let query = format!(
            "mutation($t: ID!, $id: ID!) {{ {operation}(tenant: $t, id: $id) {{ operation {{ id }} }} }}"
        );
        let told = self.admin.ok(&query, json!({"t": self.acme, "id": id})).await;
        let ended = self.ended(&told[operation]["operation"]["id"]).await;
        assert_eq!(ended["state"], "SUCCEEDED", "{operation}: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_through_its_life_over_the_api() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let id = stage.create("web").await;
    for (operation, wanted, seen) in [
        ("suspend", "SUSPENDED", "PAUSED"),
        ("resume", "RUNNING", "RUNNING"),
        ("restartMachine", "RUNNING", "RUNNING"),
        ("resetMachine", "RUNNING", "RUNNING"),
        ("powerOff", "OFF", "OFF"),
        ("powerOn", "RUNNING", "RUNNING"),
        ("forcePowerOff", "OFF", "OFF"),
    ] {
        stage.done(operation, &id).await;
        let now = &stage.admin.ok(LOOK, json!({"t": stage.acme, "id": id})).await["machine"];
        assert_eq!((&now["wanted"], &now["seen"]), (&json!(wanted), &json!(seen)), "{operation}");
    }
    let make = "mutation($t: ID!, $id: ID!, $n: String!) { createSnapshot(tenant: $t, machineId: $id, name: $n) { operation { id } } }";
    let taken = stage.admin.ok(make, json!({"t": stage.acme, "id": id, "n": "clean"})).await;
    assert_eq!(stage.ended(&taken["createSnapshot"]["operation"]["id"]).await["state"], "SUCCEEDED");
    let (code, told) = stage.admin.refusal(make, json!({"t": stage.acme, "id": id, "n": "clean"})).await;
    assert_eq!((code.as_str(), told.contains("already")), ("CONFLICT", true), "{told}");
    for name in ["a/b", "a'b", "a\"b", "a\nb", "", &"a".repeat(10_000), "<domainsnapshot>"] {
        let (code, told) = stage.admin.refusal(make, json!({"t": stage.acme, "id": id, "n": name})).await;
        assert_eq!(code, "BAD_USER_INPUT", "{name:.20}: {told:.200}");
        assert!(told.len() < 1_000, "{} bytes are told of it", told.len());
    }
    let list = "query($t: ID!, $id: ID!) { machineSnapshots(tenant: $t, machineId: $id) { name state } }";
    let all = stage.admin.ok(list, json!({"t": stage.acme, "id": id})).await;
    assert_eq!(all["machineSnapshots"], json!([{"name": "clean", "state": "READY"}]));
    let current = "query($t: ID!, $id: ID!) { currentSnapshot(tenant: $t, machineId: $id) { id name } }";
    let current = async || {
        let told = stage.admin.ok(current, json!({"t": stage.acme, "id": id})).await;
        let machine = MachineId(id.as_str().unwrap().parse().unwrap());
        let kept = stage.host.snapshots(machine).await.unwrap();
        let on_host = kept.iter().find(|kept| kept.is_current).and_then(|kept| kept.id);
        assert_eq!(told["currentSnapshot"]["id"], json!(on_host.map(|id| id.0)), "what its host says");
        told["currentSnapshot"]["name"].clone()
    };
    let done = async |query: &str, operation: &str, name: &str| {
        let told = stage.admin.ok(query, json!({"t": stage.acme, "id": id, "n": name})).await;
        assert_eq!(
            stage.ended(&told[operation]["operation"]["id"]).await["state"],
            "SUCCEEDED",
            "{operation}"
        );
    };
    assert_eq!(current().await, "clean");
    done(make, "createSnapshot", "later").await;
    assert_eq!(current().await, "later");
    let force = "mutation($t: ID!, $id: ID!, $n: String!) { forceRestoreSnapshot(tenant: $t, machineId: $id, snapshotName: $n) { operation { id } } }";
    done(force, "forceRestoreSnapshot", "clean").await;
    assert_eq!(current().await, "clean");
    done(make, "createSnapshot", "other").await;
    let delete = "mutation($t: ID!, $id: ID!, $n: String!) { deleteSnapshot(tenant: $t, machineId: $id, snapshotName: $n) { operation { id } } }";
    // What it was taken from is what the machine goes on from.
    for (name, left) in [("other", json!("clean")), ("clean", Value::Null)] {
        done(delete, "deleteSnapshot", name).await;
        assert_eq!(current().await, left, "without `{name}`");
    }
    assert!(stage.host.acts().iter().any(|(_, act)| *act == "revert"));
    stage.done("destroyMachine", &id).await;
    let page = "query($t: ID!) { machines(tenant: $t) { nodes { id } } }";
    assert_eq!(stage.admin.ok(page, json!({"t": stage.acme})).await["machines"]["nodes"], json!([]));
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_another_tenant_does_not_exist() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let id = stage.create("web").await;
    let other = tenant(&stage.admin, "other").await;
    let eve = stage.door.user("eve@example.org", "USER").await;
    join(&stage.admin, &other, "eve@example.org", "ADMIN").await;
    // By her own tenant she does not reach it, and by theirs she is nobody.
    for t in [&other, &stage.acme] {
        let (code, _) = eve.refusal(LOOK, json!({"t": t, "id": id})).await;
        assert_eq!(code, "NOT_FOUND");
        for operation in
            ["powerOn", "powerOff", "forcePowerOff", "restartMachine", "suspend", "destroyMachine"]
        {
            let query = format!(
                "mutation($t: ID!, $id: ID!) {{ {operation}(tenant: $t, id: $id) {{ operation {{ id }} }} }}"
            );
            let (code, told) = eve.refusal(&query, json!({"t": t, "id": id})).await;
            assert_eq!(code, "NOT_FOUND", "{operation}: {told}");
        }
        for query in [
            "query($t: ID!, $id: ID!) { machineOperations(tenant: $t, machineId: $id) { nodes { id } } }",
            "query($t: ID!, $id: ID!) { whyMachineWaits(tenant: $t, machineId: $id) { code } }",
            "query($t: ID!, $id: ID!) { machineSnapshots(tenant: $t, machineId: $id) { name } }",
            "mutation($t: ID!, $id: ID!) { createSnapshot(tenant: $t, machineId: $id, name: \"s\") { operation { id } } }",
            "mutation($t: ID!, $id: ID!) { restoreSnapshot(tenant: $t, machineId: $id, snapshotName: \"s\") { operation { id } } }",
            "mutation($t: ID!, $id: ID!) { deleteSnapshot(tenant: $t, machineId: $id, snapshotName: \"s\") { operation { id } } }",
            "mutation($t: ID!, $id: ID!) { moveMachine(tenant: $t, id: $id, host: \"a\") { id } }",
        ] {
            let (code, told) = eve.refusal(query, json!({"t": t, "id": id})).await;
            assert!(matches!(code.as_str(), "NOT_FOUND" | "FORBIDDEN"), "{query}: {told}");
        }
    }
    // A department of theirs takes no machine of hers.
    let make = "mutation($t: ID!) { createDepartment(tenant: $t, name: \"Sales\") { id } }";
    let theirs = stage.admin.ok(make, json!({"t": stage.acme})).await["createDepartment"]["id"].clone();
    let input = json!({"name": "mine", "os": "FEDORA", "vcpus": 1, "memoryMib": 64, "diskGib": 0, "departmentId": theirs});
    let (code, _) = eve.refusal(CREATE, json!({"t": other, "i": input})).await;
    assert_eq!(code, "NOT_FOUND");
    // Nothing of all this was done.
    let now = stage.admin.ok(LOOK, json!({"t": stage.acme, "id": id})).await;
    assert_eq!(now["machine"]["seen"], "RUNNING");
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_machine_is_refused_with_every_reason() {
    let stage = Stage::new().await;
    let input = json!({"name": "web", "os": "UBUNTU"});
    let (code, told) = stage.admin.refusal(CREATE, json!({"t": stage.acme, "i": input})).await;
    assert_eq!((code.as_str(), told.contains("there is no host")), ("CONFLICT", true), "{told}");
    let hands = stage.serve().await;
    for name in ["a'b", "a\"b", "a/b", "a\nb", "", &"a".repeat(10_000), "<domain>"] {
        let input = json!({"name": name, "os": "UBUNTU", "vcpus": 0, "memoryMib": 1, "diskGib": -1});
        let answer = stage.admin.ask(CREATE, json!({"t": stage.acme, "i": input})).await.json();
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{name:.20}");
        assert_eq!(extensions["faults"].as_array().unwrap().len(), 4, "{answer}");
    }
    // With what is named and is not there, and with an id that is none.
    let nobodys = uuid::Uuid::now_v7().to_string();
    for (department, reason) in [(nobodys.as_str(), json!("NOT_FOUND")), ("sales", Value::Null)] {
        let input = json!({"name": "", "os": "UBUNTU", "host": "nowhere", "departmentId": department});
        let answer = stage.admin.ask(CREATE, json!({"t": stage.acme, "i": input})).await.json();
        let faults = &answer["errors"][0]["extensions"]["faults"];
        let told: Vec<_> = faults.as_array().unwrap().iter().map(|f| (&f["field"], &f["reason"])).collect();
        let [name, place, host] = ["name", "departmentId", "host"].map(Value::from);
        let gone = json!("NOT_FOUND");
        // The id that is none is told with the machine's own faults.
        assert_eq!(told, [(&name, &Value::Null), (&place, &reason), (&host, &gone)], "{answer}");
    }
    let input = json!({"name": "web", "os": "UBUNTU", "memoryMib": 8192, "host": "a"});
    let (code, told) = stage.admin.refusal(CREATE, json!({"t": stage.acme, "i": input})).await;
    let figures = told.contains("needs 8192 MiB") && told.contains("the host has 4096");
    assert_eq!((code.as_str(), figures), ("CONFLICT", true), "{told}");
    let input = json!({"name": "web", "os": "UBUNTU", "host": "nowhere"});
    let (code, _) = stage.admin.refusal(CREATE, json!({"t": stage.acme, "i": input})).await;
    assert_eq!(code, "NOT_FOUND");
    let id = stage.create("web").await;
    let input = json!({"name": "web", "os": "UBUNTU", "vcpus": 1, "memoryMib": 64});
    let (code, _) = stage.admin.refusal(CREATE, json!({"t": stage.acme, "i": input})).await;
    assert_eq!(code, "CONFLICT");
    assert_eq!(stage.host.acts().iter().filter(|(_, act)| *act == "define").count(), 1);
    // A drained host takes no more, and says so.
    stage.admin.ok("mutation { drainHost(name: \"a\") { state } }", json!({})).await;
    let query = "mutation($t: ID!, $id: ID!) { suspend(tenant: $t, id: $id) { operation { id } } }";
    let asked = stage.admin.ok(query, json!({"t": stage.acme, "id": id})).await;
    let why = "query($t: ID!, $id: ID!) { whyMachineWaits(tenant: $t, machineId: $id) { code why } }";
    let told = stage.admin.ok(why, json!({"t": stage.acme, "id": id})).await;
    assert_eq!(told["whyMachineWaits"][0]["code"], "HOST_DRAINING");
    let (code, told) = stage.admin.refusal("mutation { removeHost(name: \"a\") }", json!({})).await;
    assert_eq!((code.as_str(), told.contains("1 machine(s): web;")), ("CONFLICT", true), "{told}");
    // To a machine that is being destroyed nothing more is done, and nothing of the wish is left.
    stage.host.cut();
    let end = "mutation($t: ID!, $id: ID!) { destroyMachine(tenant: $t, id: $id) { operation { id } } }";
    let destroying = stage.admin.ok(end, json!({"t": stage.acme, "id": id})).await;
    for wish in [
        "powerOn(tenant: $t, id: $id)",
        "powerOff(tenant: $t, id: $id)",
        "createSnapshot(tenant: $t, machineId: $id, name: \"late\")",
    ] {
        let query = format!("mutation($t: ID!, $id: ID!) {{ {wish} {{ operation {{ id }} }} }}");
        let (code, told) = stage.admin.refusal(&query, json!({"t": stage.acme, "id": id})).await;
        assert_eq!((code.as_str(), told.contains("being destroyed")), ("CONFLICT", true), "{told}");
    }
    stage.host.mend();
    assert_eq!(stage.ended(&asked["suspend"]["operation"]["id"]).await["state"], "SUPERSEDED");
    assert_eq!(stage.ended(&destroying["destroyMachine"]["operation"]["id"]).await["state"], "SUCCEEDED");
    hands.stop().await;
    assert_eq!(stage.admin.ok("mutation { removeHost(name: \"a\") }", json!({})).await["removeHost"], true);
    assert_eq!(stage.admin.ok("{ hosts { name } }", json!({})).await["hosts"], json!([]));
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn departments_own_machines_and_outlive_none() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let make = "mutation($t: ID!, $n: String!) { createDepartment(tenant: $t, name: $n) { id } }";
    let sales =
        stage.admin.ok(make, json!({"t": stage.acme, "n": "Sales"})).await["createDepartment"]["id"].clone();
    let (code, _) = stage.admin.refusal(make, json!({"t": stage.acme, "n": "sales"})).await;
    assert_eq!(code, "CONFLICT");
    let id = stage.create("web").await;
    let shift = "mutation($t: ID!, $id: ID!, $d: ID) { moveMachine(tenant: $t, id: $id, departmentId: $d) { departmentId } }";
    let moved = stage.admin.ok(shift, json!({"t": stage.acme, "id": id, "d": sales})).await;
    assert_eq!(moved["moveMachine"]["departmentId"], sales);
    let remove = "mutation($t: ID!, $id: ID!) { destroyDepartment(tenant: $t, id: $id) }";
    let (code, _) = stage.admin.refusal(remove, json!({"t": stage.acme, "id": sales})).await;
    assert_eq!(code, "CONFLICT");
    let find = "query($t: ID!) { findDepartmentByName(tenant: $t, name: \"SALES\") { id } }";
    assert_eq!(stage.admin.ok(find, json!({"t": stage.acme})).await["findDepartmentByName"]["id"], sales);
    stage.done("destroyMachine", &id).await;
    assert_eq!(
        stage.admin.ok(remove, json!({"t": stage.acme, "id": sales})).await["destroyDepartment"],
        true
    );
    hands.stop().await;
    stage.door.close().await;
}
