//! The part about machines: a webhook's workflow makes one, checks it and keeps a snapshot of it; then it is
//! switched off, and destroyed.

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::definitions;
use super::operations::{Tenant, text};
use super::story::{SOON, ended};
use super::timeline::Timeline;
use crate::hypervisor::{LOCAL, is_built_in};

/// How long an operation may take that waits for libvirt.
const OPERATION: Duration = Duration::from_secs(60);

/// What became of an operation on a machine, and when.
struct Operation {
    action: String,
    state: String,
    error: String,
    asked: DateTime<Utc>,
    began: DateTime<Utc>,
    ended: DateTime<Utc>,
}

/// A webhook makes a machine.
pub(super) async fn machine(time: Timeline, tenant: &Tenant) -> anyhow::Result<()> {
    time.part("A webhook makes a machine");
    if !is_built_in() {
        time.tell("left out: this executable was built without libvirt, and knows no machines");
        return Ok(());
    }
    let workflow = tenant.create_workflow("a desktop for everybody", definitions::desktop(LOCAL)).await?;
    let made = tenant.create_listener("desktops", definitions::desktops(&workflow)).await?;
    let path = format!("/hooks/{}/desktops", tenant.slug);
    let body = json!({ "person": { "name": "alex" } });
    let (status, answer) = tenant.deliver(&path, &made.secret, "msg_demo_machine", &body).await?;
    ensure!(status == 202, "untrue: the delivery is accepted (it answered {status}: {answer})");
    time.tell("a signed delivery: 202");
    let run = time
        .until("the workflow starts", SOON, async || {
            Ok(tenant.notices(&made.id).await?.into_iter().find_map(|notice| notice.run))
        })
        .await?;
    let output = ended(time, tenant, &run, OPERATION).await?;
    tenant.log(&run).await?.once(&["make", "health", "keep"])?;
    let machine = text(&output, "/machine")?;
    ensure!(
        output["verdict"] == "HEALTHY" && output["host"] == LOCAL,
        "untrue: the machine is on host `{LOCAL}` and found healthy ({output})"
    );
    time.tell(format!("run {run} made machine {machine} on host `{LOCAL}` and found it healthy"));
    let shown = tenant.machine(&machine).await?;
    ensure!(
        shown["seen"] == "RUNNING" && shown["wanted"] == "RUNNING",
        "untrue: libvirt says that it runs ({shown})"
    );
    let kept = tenant.snapshots(&machine).await?;
    ensure!(kept == json!([{ "name": "clean", "state": "READY" }]), "untrue: it has a snapshot ({kept})");
    for operation in operations(tenant, &machine).await? {
        tell(time, &operation)?;
    }
    switch_off(time, tenant, &machine).await?;
    destroy(time, tenant, &machine).await
}

/// From the mutation to libvirt.
async fn switch_off(time: Timeline, tenant: &Tenant, machine: &str) -> anyhow::Result<()> {
    let asked = tenant.ask_of_machine("powerOff", machine).await?;
    let done = finished(time, tenant, machine, &asked).await?;
    tell(time, &done)?;
    let shown = tenant.machine(machine).await?;
    ensure!(shown["seen"] == "OFF", "untrue: it is off ({shown})");
    let health = time
        .until("its checks are parked", SOON, async || {
            Ok(Some(tenant.health(machine).await?).filter(|status| status == "PARKED"))
        })
        .await?;
    time.tell(format!("it is off, and its health says `{health}`: nothing is checked until it is on"));
    Ok(())
}

async fn destroy(time: Timeline, tenant: &Tenant, machine: &str) -> anyhow::Result<()> {
    let asked = tenant.ask_of_machine("destroyMachine", machine).await?;
    let done = finished(time, tenant, machine, &asked).await?;
    tell(time, &done)?;
    let left = tenant.machines().await?;
    ensure!(left == 0, "untrue: nothing is left of it ({left} machine(s))");
    time.tell("destroyed: no machine of this tenant is left on the host");
    Ok(())
}

/// An operation, once it has ended.
async fn finished(time: Timeline, tenant: &Tenant, machine: &str, id: &str) -> anyhow::Result<Operation> {
    time.until("the operation ends", OPERATION, async || {
        let found = tenant.machine_operations(machine).await?.into_iter().find(|o| o["id"] == id);
        found.filter(|o| o["endedAt"].is_string()).as_ref().map(read).transpose()
    })
    .await
}

/// What was asked of a machine until now, oldest first.
async fn operations(tenant: &Tenant, machine: &str) -> anyhow::Result<Vec<Operation>> {
    let mut all = tenant.machine_operations(machine).await?;
    all.reverse();
    all.iter().map(read).collect()
}

fn read(operation: &Value) -> anyhow::Result<Operation> {
    let at = |field: &str| {
        let told = text(operation, field)?;
        told.parse::<DateTime<Utc>>().with_context(|| format!("`{told}` is no time"))
    };
    Ok(Operation {
        action: text(operation, "/action")?,
        state: text(operation, "/state")?,
        error: operation["error"].as_str().unwrap_or_default().to_owned(),
        asked: at("/createdAt")?,
        began: at("/startedAt")?,
        ended: at("/endedAt")?,
    })
}

fn tell(time: Timeline, operation: &Operation) -> anyhow::Result<()> {
    let Operation { action, state, error, asked, began, ended } = operation;
    ensure!(state == "SUCCEEDED", "untrue: `{action}` succeeds (it is {state}: {error})");
    let ms = |from: &DateTime<Utc>, to: &DateTime<Utc>| (*to - *from).num_milliseconds();
    time.tell(format!(
        "{action}: taken by the host's worker {} ms after it was asked for, done by libvirt {} ms later",
        ms(asked, began),
        ms(began, ended)
    ));
    Ok(())
}
