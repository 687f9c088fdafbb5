//! `millrace host`: look at hosts, drain, resume, accept and remove them.

use jobs::db::PgPool;
use jobs::host::store::{self, Host as HostView};
use jobs::queue::Wake;
use jobs::queue::wake::Hint;
use serde::Serialize;
use serde_json::json;

use crate::command::Output;
use crate::fleet::Host;
use crate::table::{cell, print, print_one, print_said, time};
use crate::{audit, settings};

pub(crate) async fn run(command: Host) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Host::List { output } => list(&db, output).await?,
        Host::Show { name, output } => show(&db, &name, output).await?,
        Host::Drain { name, output } => {
            set_draining(&db, &name, true).await?;
            let said = format!(
                "`{name}` is being drained: what runs goes on, nothing more is started, and machines can be switched off; `millrace host resume {name}` lets it go on"
            );
            print_said(output, &json!({ "name": name, "draining": true }), &said)?;
        }
        Host::Resume { name, output } => {
            set_draining(&db, &name, false).await?;
            print_said(output, &json!({ "name": name, "draining": false }), &format!("`{name}` goes on"))?;
        }
        Host::Accept { name, identity, output } => {
            let mut tx = jobs::db::begin(&db).await?;
            store::accept(&mut tx, &name, &identity).await?;
            let given = json!({ "name": name, "identity": identity });
            audit::note(&mut tx, None, "cli.host.accept", &given).await?;
            tx.commit().await?;
            let said = format!(
                "what answers under the name `{name}` is its own hypervisor from now on; machines that it does not know are shown as such: `millrace machine list --host {name}`"
            );
            print_said(output, &given, &said)?;
        }
        Host::Remove { name, output } => {
            let mut tx = jobs::db::begin(&db).await?;
            store::remove(&mut tx, &name, &audit::operator()).await?;
            audit::note(&mut tx, None, "cli.host.remove", &json!({ "name": name })).await?;
            tx.commit().await?;
            let said =
                format!("`{name}` is removed; a worker that serves a host of that name brings it back");
            print_said(output, &json!({ "name": name, "removed": true }), &said)?;
        }
    }
    Ok(())
}

/// A host with the state that people are told.
#[derive(Serialize)]
struct Shown {
    state: &'static str,
    #[serde(flatten)]
    host: HostView,
}

impl From<HostView> for Shown {
    fn from(host: HostView) -> Self {
        Self { state: host.state().as_str(), host }
    }
}

async fn list(db: &PgPool, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let all: Vec<Shown> = store::all(&mut conn).await?.into_iter().map(Into::into).collect();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|Shown { state, host }| {
            vec![
                host.name.clone(),
                state.to_lowercase(),
                host.uri.clone(),
                host.machines.to_string(),
                cell(host.cpus),
                cell(host.memory_mib),
                host.promised_mib.to_string(),
                cell(host.listed_at.map(time)),
                cell(host.reason()),
            ]
        })
        .collect();
    let head = ["HOST", "STATE", "URI", "MACHINES", "CPUS", "MEMORY MIB", "PROMISED MIB", "LISTED", "REASON"];
    print(output, &all, &head, &rows)
}

async fn show(db: &PgPool, name: &str, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let shown: Shown = store::by_name(&mut conn, name).await?.into();
    let host = &shown.host;
    let draining = host
        .draining_at
        .map(|at| format!("since {} by {}", time(at), host.draining_by.as_deref().unwrap_or("-")));
    let lines = [
        ("host", host.name.clone()),
        ("state", shown.state.to_lowercase()),
        ("reason", cell(host.reason())),
        ("draining", cell(draining)),
        ("uri", host.uri.clone()),
        ("hypervisor", cell(host.hypervisor.as_deref())),
        ("identity", cell(host.identity.as_deref())),
        ("stranger", cell(host.stranger.as_deref())),
        ("cpus", cell(host.cpus)),
        ("memory", cell(host.memory_mib.map(|mib| format!("{mib} MiB, {} promised", host.promised_mib)))),
        ("machines", host.machines.to_string()),
        ("slots", format!("{} operations, {} checks", host.vm_slots, host.health_slots)),
        ("held", format!("{}, holder number {}", if host.held { "yes" } else { "no" }, host.epoch)),
        ("reported", cell(host.reported_at.map(time))),
        ("listed", cell(host.listed_at.map(time))),
    ];
    print_one(output, &shown, &lines)
}

async fn set_draining(db: &PgPool, name: &str, draining: bool) -> jobs::Result<()> {
    let mut tx = jobs::db::begin(db).await?;
    store::drain(&mut tx, name, draining, &audit::operator()).await?;
    let operation = if draining { "cli.host.drain" } else { "cli.host.resume" };
    audit::note(&mut tx, None, operation, &json!({ "name": name })).await?;
    tx.commit().await?;
    if !draining {
        Wake::tell(db, Hint::Resumed).await;
    }
    Ok(())
}
