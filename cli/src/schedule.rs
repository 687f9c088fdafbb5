//! `millrace schedule`: look at schedules, preview them, pause and resume them, run one now.

use chrono::{DateTime, Utc};
use jobs::db::PgPool;
use jobs::firing::{self, Firing};
use jobs::queue::Wake;
use jobs::queue::wake::Hint;
use jobs::schedule::{self, Filter, Schedule as ScheduleView};
use jobs::{Error, Result};
use rules::id::{ScheduleId, TenantId};
use rules::queue::Pool;
use rules::schedule::{Draft, Fault, Timing, When};
use serde::Serialize;
use serde_json::json;

use crate::clock::{Schedule, Times};
use crate::command::Output;
use crate::table::{cell, print, print_one, print_said, time};
use crate::{audit, known, settings};

/// How many firings are shown of one schedule.
const SHOWN_FIRINGS: i64 = 10;

/// How many of the next ticks are shown of one schedule.
const SHOWN_TICKS: usize = 3;

pub(crate) async fn run(command: Schedule) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Schedule::List { tenant, before, limit, output } => list(&db, tenant, before, limit, output).await?,
        Schedule::Show { id, output } => show(&db, id, output).await?,
        Schedule::Preview { id, times, count, output } => preview(&db, id, &times, count, output).await?,
        Schedule::Pause { id, output } => {
            set_disabled(&db, id, true).await?;
            let said = format!("schedule {id} fires no more; `millrace schedule resume {id}` lets it go on");
            print_said(output, &json!({ "id": id, "disabled": true }), &said)?;
        }
        Schedule::Resume { id, output } => {
            let next = set_disabled(&db, id, false).await?.next_at;
            let said = format!("schedule {id} goes on; it fires next at {}", cell(next.map(time)));
            print_said(output, &json!({ "id": id, "disabled": false, "next_at": next }), &said)?;
        }
        Schedule::Run { id, output } => {
            let firing = fire(&db, id).await?;
            let said =
                format!("schedule {id} fires now; `millrace schedule show {id}` tells what came of it");
            print_said(output, &json!({ "id": id, "firing": firing.id }), &said)?;
        }
    }
    Ok(())
}

async fn list(
    db: &PgPool,
    tenant: Option<TenantId>,
    before: Option<ScheduleId>,
    limit: i64,
    output: Output,
) -> Result<()> {
    let mut conn = db.acquire().await?;
    let filter = Filter { tenant, ..Filter::default() };
    let page = schedule::page(&mut conn, &filter, before, limit).await?;
    if let Some(tenant) = tenant.filter(|_| page.is_empty()) {
        known::tenant(&mut conn, tenant).await?;
    }
    let rows: Vec<Vec<String>> = page
        .iter()
        .map(|s| {
            vec![
                s.id.to_string(),
                s.title.clone(),
                s.tenant_id.to_string(),
                due(s),
                if s.disabled { "paused".into() } else { cell(s.next_at.map(time)) },
            ]
        })
        .collect();
    print(output, &page.rows, &["ID", "TITLE", "TENANT", "DUE", "NEXT"], &rows)
}

/// When a schedule is due, for people.
fn due(s: &ScheduleView) -> String {
    match (&s.cron, s.interval_s, s.at) {
        (Some(line), _, _) => format!("{line} ({})", cell(s.time_zone.as_deref())),
        (None, Some(seconds), _) => format!("every {seconds} s"),
        (None, None, at) => format!("once at {}", cell(at.map(time))),
    }
}

/// A schedule with its next ticks and what came of the last.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    schedule: ScheduleView,
    next: Vec<DateTime<Utc>>,
    firings: Vec<Firing>,
}

async fn show(db: &PgPool, id: ScheduleId, output: Output) -> Result<()> {
    let mut conn = db.acquire().await?;
    let schedule = schedule::get(&mut conn, None, id).await?;
    let firings =
        firing::by_schedule(&mut conn, TenantId(schedule.tenant_id), id, None, SHOWN_FIRINGS).await?.rows;
    let now = schedule::now(&mut conn).await?;
    let next = timing(&schedule.when()?)?.upcoming(now, SHOWN_TICKS);
    let tries = format!("{} more, {} s apart", schedule.retries, schedule.retry_delay_s);
    let mut lines = vec![
        ("schedule", schedule.id.to_string()),
        ("title", schedule.title.clone()),
        ("tenant", schedule.tenant_id.to_string()),
        ("workflow", schedule.workflow_id.to_string()),
        ("due", due(&schedule)),
        ("catch-up", format!("{}, {} at most", schedule.catch_up.to_lowercase(), schedule.catch_up_max)),
        ("timeout", format!("{} s", schedule.timeout_s)),
        ("attempts", tries),
        ("saved", format!("{} by {}", time(schedule.updated_at), schedule.saved_by)),
        ("next", if schedule.disabled { "paused".into() } else { cell(schedule.next_at.map(time)) }),
    ];
    for fired in &firings {
        let took = fired.duration_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
        let result = fired.result.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        let missed = fired
            .missed
            .map(|n| format!(" {n} up to {}", cell(fired.missed_until.map(time))))
            .unwrap_or_default();
        let (kind, state) = (fired.trigger_type.to_lowercase(), fired.state.to_lowercase());
        let told = format!(
            "{} {kind} {state}{missed}{took}, run {}{result}",
            time(fired.tick_at),
            cell(fired.run_id)
        );
        lines.push(("firing", told));
    }
    print_one(output, &Shown { schedule, next, firings }, &lines)
}

async fn preview(
    db: &PgPool,
    id: Option<ScheduleId>,
    times: &Times,
    count: usize,
    output: Output,
) -> Result<()> {
    let mut conn = db.acquire().await?;
    let now = schedule::now(&mut conn).await?;
    let when = match id {
        Some(id) => schedule::get(&mut conn, None, id).await?.when()?,
        None => {
            let draft = Draft {
                cron: times.cron.as_deref(),
                time_zone: times.time_zone.as_deref(),
                interval_s: times.interval,
                at: times.at,
            };
            When::read(&draft, now).map_err(|faults| wrong(&faults))?
        }
    };
    let next = timing(&when)?.upcoming(now, count);
    let rows: Vec<Vec<String>> = next.iter().map(|tick| vec![time(*tick)]).collect();
    print(output, &next, &["NEXT"], &rows)
}

/// What is wrong, in the words of the command line.
fn wrong(faults: &[Fault]) -> Error {
    let told = faults.iter().map(|fault| {
        let option = match fault.field {
            "timeZone" => "--time-zone",
            "intervalSeconds" => "--interval",
            "at" => "--at",
            _ => "--cron",
        };
        format!("`{option}` {}", fault.message)
    });
    Error::invalid(told.collect::<Vec<_>>().join("; "))
}

fn timing(when: &When) -> Result<Timing> {
    when.timing().map_err(|fault| wrong(&[fault]))
}

async fn set_disabled(db: &PgPool, id: ScheduleId, disabled: bool) -> Result<ScheduleView> {
    let mut tx = jobs::db::begin(db).await?;
    let tenant = TenantId(schedule::get(&mut tx, None, id).await?.tenant_id);
    let saved = schedule::set_disabled(&mut tx, tenant, id, disabled).await?;
    let operation = if disabled { "cli.schedule.pause" } else { "cli.schedule.resume" };
    audit::note(&mut tx, Some(tenant), operation, &json!({ "id": id })).await?;
    tx.commit().await?;
    Ok(saved)
}

async fn fire(db: &PgPool, id: ScheduleId) -> Result<Firing> {
    let mut tx = jobs::db::begin(db).await?;
    let tenant = TenantId(schedule::get(&mut tx, None, id).await?.tenant_id);
    let by = format!("operator:{}", audit::operator());
    // Told by a hint that needs no process of ours to outlive this one.
    let (fired, _) = schedule::run(&mut tx, tenant, id, &by, None).await?;
    let fired = firing::get(&mut tx, tenant, fired).await?;
    audit::note(&mut tx, Some(tenant), "cli.schedule.run", &json!({ "id": id })).await?;
    tx.commit().await?;
    Wake::tell(db, Hint::Ready(Pool::Events.id())).await;
    Ok(fired)
}
