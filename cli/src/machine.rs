//! `millrace machine`: look at machines, see why what was asked of one has not begun, switch one, and move one.

use jobs::db::PgPool;
use jobs::health::{CheckView, HealthView};
use jobs::machine::operation::{self, Operation};
use jobs::machine::store::{self, Filter, Machine as MachineView};
use jobs::machine::{Relocation, relocate};
use jobs::queue::Wake;
use jobs::queue::wake::Hint;
use rules::id::{MachineId, TenantId};
use rules::machine::Action;
use serde::Serialize;
use serde_json::json;

use crate::command::Output;
use crate::fleet::Machine;
use crate::table::{cell, print, print_one, print_said, time};
use crate::{audit, known, power, settings};

/// How many operations are shown of one machine.
const SHOWN_OPERATIONS: i64 = 10;

pub(crate) async fn run(command: Machine) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Machine::List { tenant, host, after, limit, output } => {
            let filter = Filter { tenant, department: None, host: host.as_deref(), after };
            list(&db, &filter, limit, output).await?;
        }
        Machine::Show { id, output } => show(&db, id, output).await?,
        Machine::Why { id, output } => why(&db, id, output).await?,
        Machine::Health { id, output } => health(&db, id, output).await?,
        Machine::Start(asked) => power::ask(&db, Action::Start, &asked).await?,
        Machine::Stop(asked) => power::ask(&db, Action::Stop, &asked).await?,
        Machine::ForceStop(asked) => power::ask(&db, Action::ForceOff, &asked).await?,
        Machine::Restart(asked) => power::ask(&db, Action::Restart, &asked).await?,
        Machine::Reset(asked) => power::ask(&db, Action::Reset, &asked).await?,
        Machine::Suspend(asked) => power::ask(&db, Action::Suspend, &asked).await?,
        Machine::Resume(asked) => power::ask(&db, Action::Resume, &asked).await?,
        Machine::Destroy { yes, asked } => {
            if !yes {
                return Err(jobs::Error::invalid(format!(
                    "this deletes machine {} with its disks and snapshots; say `--yes` if that is meant",
                    asked.id
                ))
                .into());
            }
            power::ask(&db, Action::Destroy, &asked).await?;
        }
        Machine::Move { id, host, host_has_no_power, output } => {
            put(&db, id, &host, host_has_no_power).await?;
            let said = format!("machine {id} is on host `{host}` now, and what waits for it too");
            print_said(output, &json!({ "id": id, "host": host }), &said)?;
        }
    }
    Ok(())
}

async fn list(db: &PgPool, filter: &Filter<'_>, limit: i64, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let page = store::page(&mut conn, filter, limit).await?;
    if page.is_empty() {
        if let Some(tenant) = filter.tenant {
            known::tenant(&mut conn, tenant).await?;
        }
        if let Some(host) = filter.host {
            known::host(&mut conn, host).await?;
        }
    }
    let rows: Vec<Vec<String>> = page
        .iter()
        .map(|m| {
            vec![
                m.id.to_string(),
                m.name.clone(),
                m.host.clone(),
                m.wanted.to_lowercase(),
                m.seen.to_lowercase(),
                cell(m.seen_at.map(time)),
                cell(m.drift.as_deref()),
            ]
        })
        .collect();
    print(output, &page, &["ID", "NAME", "HOST", "WANTED", "SEEN", "SEEN AT", "DRIFT"], &rows)
}

/// A machine with what was asked of it last.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    machine: MachineView,
    operations: Vec<Operation>,
}

async fn show(db: &PgPool, id: MachineId, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let machine = store::get(&mut conn, None, id).await?;
    let operations = operation::store::page(&mut conn, id, None, SHOWN_OPERATIONS).await?;
    let spec = machine.spec()?;
    let size =
        format!("{} cpus, {} MiB, {} GiB, {}", spec.vcpus, spec.memory_mib, spec.disk_gib, spec.os.as_str());
    let mut lines = vec![
        ("machine", machine.id.to_string()),
        ("name", machine.name.clone()),
        ("tenant", machine.tenant_id.to_string()),
        ("department", cell(machine.department_id)),
        ("host", machine.host.clone()),
        ("size", size),
        ("wanted", machine.wanted.to_lowercase()),
        ("seen", machine.seen.to_lowercase()),
        ("seen because", cell(machine.seen_reason.as_deref())),
        ("seen at", cell(machine.seen_at.map(time))),
        ("drift", cell(machine.drift.as_deref())),
        ("created", format!("{} by {}", time(machine.created_at), machine.created_by)),
        ("destroyed", cell(machine.destroyed_at.map(time))),
    ];
    for asked in &operations {
        let error = asked.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
        let reason = asked.reason.as_deref().map(|r| format!(" because {r}")).unwrap_or_default();
        let told = format!(
            "{} {} at {} by {}{reason}{error}",
            asked.action.to_lowercase(),
            asked.state.to_lowercase(),
            time(asked.created_at),
            asked.requested_by
        );
        lines.push(("operation", told));
    }
    print_one(output, &Shown { machine, operations }, &lines)
}

async fn put(db: &PgPool, id: MachineId, host: &str, vouched: bool) -> jobs::Result<()> {
    let by = audit::operator();
    let mut tx = jobs::db::begin(db).await?;
    let tenant = TenantId(store::get(&mut tx, None, id).await?.tenant_id);
    let wish = Relocation { tenant, machine: id, host, vouched, by: &by, trace_parent: None };
    // Told by a hint that needs no process of ours to outlive this one.
    drop(relocate(&mut tx, &wish).await?);
    let given = json!({ "id": id, "host": host, "hostHasNoPower": vouched });
    audit::note(&mut tx, Some(tenant), "cli.machine.move", &given).await?;
    tx.commit().await?;
    Wake::tell(db, Hint::Resumed).await;
    Ok(())
}

/// Why an operation has not begun.
#[derive(Serialize)]
struct Waits {
    operation: uuid::Uuid,
    action: String,
    job: Option<i64>,
    code: &'static str,
    why: String,
}

async fn why(db: &PgPool, id: MachineId, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    store::get(&mut conn, None, id).await?;
    let waiting: Vec<Waits> = operation::store::why(&mut conn, id)
        .await?
        .into_iter()
        .map(|w| Waits {
            operation: w.id,
            action: w.action,
            job: w.job_id,
            code: w.why.code(),
            why: w.why.to_string(),
        })
        .collect();
    let rows: Vec<Vec<String>> = waiting
        .iter()
        .map(|w| {
            vec![w.operation.to_string(), w.action.to_lowercase(), cell(w.job), w.code.into(), w.why.clone()]
        })
        .collect();
    print(output, &waiting, &["OPERATION", "ACTION", "JOB", "CODE", "WHY"], &rows)
}

/// How a machine is, with what each check found last.
#[derive(Serialize)]
struct Health {
    #[serde(flatten)]
    health: HealthView,
    checks: Vec<CheckView>,
}

async fn health(db: &PgPool, id: MachineId, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let health = jobs::health::store::get(&mut conn, None, id).await?;
    let checks = jobs::health::store::checks(&mut conn, id).await?;
    let since = health.since.map(|at| format!(" since {}", time(at))).unwrap_or_default();
    let mut lines = vec![
        ("machine", format!("{} ({})", health.machine, health.machine_id)),
        ("host", health.host.clone()),
        ("health", format!("{}{since}", health.status.to_lowercase())),
        ("because", cell(health.reason.as_deref())),
    ];
    for check in &checks {
        let verdict = check.verdict.as_deref().unwrap_or("not checked yet").to_lowercase();
        let when = check.checked_at.map(|at| format!(" at {}", time(at))).unwrap_or_default();
        let detail = check.detail.as_deref().map(|told| format!(": {told}")).unwrap_or_default();
        let next = match (check.enabled, &check.job_state, check.due_at) {
            (_, Some(state), _) => format!("its job is {}", state.to_lowercase()),
            (false, None, _) => "switched off".to_owned(),
            (true, None, Some(at)) => format!("next at {}", time(at)),
            (true, None, None) => "parked".to_owned(),
        };
        lines.push(("check", format!("{} {verdict}{when}{detail} ({next})", check.name.to_lowercase())));
    }
    print_one(output, &Health { health, checks }, &lines)
}
