//! `millrace job`: look at jobs and act on them.

use jobs::crash::{self, Point};
use jobs::db::{PgConnection, PgPool};
use jobs::listener::cancel_job;
use jobs::queue::Wake;
use jobs::queue::postgres::control::{self, Cancel};
use jobs::queue::postgres::look::{self, FailedAttempt, Filter, JobView};
use jobs::queue::wake::Hint;
use rules::id::{JobId, TenantId};
use rules::queue::letter::fingerprint;
use rules::queue::{Kind, Policy, State};
use serde::Serialize;
use serde_json::json;

use crate::command::{Job, Output};
use crate::table::{cell, print, print_one, say, time};
use crate::{audit, failure, known, settings};

pub(crate) async fn run(command: Job) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Job::List { state, kind, all, tenant, before, limit, output } => {
            let without_upkeep = !all && kind.is_none();
            let filter = Filter { tenant, state, kind, before, without_upkeep, ..Filter::default() };
            list(&db, &filter, limit, output).await?;
            if without_upkeep && !output.json {
                let upkeep: Vec<&str> =
                    Kind::ALL.into_iter().filter(|k| k.is_upkeep()).map(Kind::as_str).collect();
                say(format!("without the house's own upkeep ({}), which `--all` shows", upkeep.join(", ")));
            }
        }
        Job::Show { id, output } => show(&db, JobId(id), output).await?,
        Job::Cancel { ids, output } => each(&ids, output, async |id| cancel_one(&db, id).await).await?,
        Job::Retry { ids, output } => each(&ids, output, async |id| retry_one(&db, id).await).await?,
    }
    Ok(())
}

/// Prints a page of jobs.
async fn list(db: &PgPool, filter: &Filter, limit: i64, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let page = all_of(&mut conn, filter, limit).await?;
    if page.is_empty()
        && let Some(tenant) = filter.tenant
    {
        known::tenant(&mut conn, tenant).await?;
    }
    print_list(output, &page)
}

/// Prints these jobs.
pub(crate) fn print_list(output: Output, page: &[JobView]) -> jobs::Result<()> {
    let rows: Vec<Vec<String>> = page
        .iter()
        .map(|job| {
            vec![
                job.id.to_string(),
                job.state.to_lowercase(),
                job.kind.clone(),
                job.queue.clone(),
                format!("{}+{}", job.attempt, job.crashes),
                time(job.created_at),
                cell(job.finished_at.or(job.run_at).map(time)),
                first_line(job.error.as_deref().unwrap_or("")),
            ]
        })
        .collect();
    print(output, &page, &["ID", "STATE", "KIND", "QUEUE", "TRIES", "CREATED", "DUE/ENDED", "ERROR"], &rows)
}

/// As many jobs as were asked for, however large they are.
async fn all_of(conn: &mut PgConnection, filter: &Filter, limit: i64) -> jobs::Result<Vec<JobView>> {
    let mut filter = filter.clone();
    let mut all: Vec<JobView> = Vec::new();
    loop {
        let left = limit.saturating_sub(i64::try_from(all.len()).unwrap_or(i64::MAX));
        let page = look::page(conn, &filter, left).await?;
        all.extend(page.rows);
        if !page.cut {
            return Ok(all);
        }
        filter.before = all.last().map(|job| job.id);
    }
}

/// A job with all that is known of it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: JobView,
    why_code: Option<&'static str>,
    why: Option<String>,
    /// The group of dead letters that it is in.
    fingerprint: Option<String>,
    attempts: Vec<FailedAttempt>,
}

/// Prints one job.
pub(crate) async fn show(db: &PgPool, id: JobId, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let job = look::job(&mut conn, id, None).await?;
    let why = look::why(&mut conn, id).await?;
    let attempts = look::attempts(&mut conn, id).await?;
    let dead = job.error.as_deref().filter(|_| job.state == State::Dead.as_str());
    let fingerprint = dead.map(|error| fingerprint(&job.kind, error));
    let mut lines = vec![
        ("job", job.id.to_string()),
        ("kind", job.kind.clone()),
        ("queue", job.queue.clone()),
        ("state", job.state.to_lowercase()),
        ("why it waits", cell(why.as_ref())),
        ("tenant", cell(job.tenant_id)),
        ("attempts", format!("{}, and {} worker(s) died under it", job.attempt, job.crashes)),
        ("created", time(job.created_at)),
        ("due", cell(job.run_at.map(time))),
        ("started", cell(job.started_at.map(time))),
        ("ended", cell(job.finished_at.map(time))),
        ("ran", cell(job.run_ms.map(|ms| format!("{ms} ms")))),
        ("worker", cell(job.worker_id)),
        ("trace", cell(job.trace_parent.as_deref())),
        ("payload", job.payload.to_string()),
        ("error", cell(job.error.as_deref())),
        ("group", cell(fingerprint.as_deref())),
    ];
    for failed in &attempts {
        let how = if failed.crashed { "worker died" } else { "failed" };
        lines.push((
            "attempt",
            format!(
                "{} at {}: {how} after {} ms on {}: {}",
                failed.attempt,
                time(failed.started_at),
                failed.run_ms,
                failed.worker_id,
                failed.error
            ),
        ));
    }
    let shown = Shown {
        why_code: why.as_ref().map(rules::queue::Why::code),
        why: why.map(|w| w.to_string()),
        fingerprint,
        attempts,
        job,
    };
    print_one(output, &shown, &lines)
}

/// What became of a job.
#[derive(Serialize)]
struct Became {
    id: i64,
    became: &'static str,
    /// Why nothing did.
    error: Option<String>,
}

impl Became {
    fn of(id: i64, done: jobs::Result<&'static str>) -> Self {
        match done {
            Ok(became) => Self { id, became, error: None },
            Err(error) => Self { id, became: "refused", error: Some(failure::told(&error)) },
        }
    }
}

/// Tells of each job what became of it, and fails when one was refused.
fn print_became(output: Output, done: &[Became]) -> anyhow::Result<()> {
    let row = |d: &Became| vec![d.id.to_string(), d.became.to_owned(), d.error.clone().unwrap_or_default()];
    print(output, &done, &["ID", "BECAME", "WHY"], &done.iter().map(row).collect::<Vec<_>>())?;
    let refused: Vec<_> = done.iter().filter(|d| d.error.is_some()).map(|d| d.id.to_string()).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let (some, all) = (refused.len(), done.len());
    let rest = if some < all { "the others are done, and why" } else { "why" };
    Err(jobs::Error::conflict(format!(
        "{some} of {all} refused: {}; {rest} is told of each",
        refused.join(", ")
    ))
    .into())
}

/// Acts on each job for itself, so that one that cannot be acted on holds up none of the others.
async fn each(
    ids: &[i64],
    output: Output,
    act: impl AsyncFn(JobId) -> jobs::Result<&'static str>,
) -> anyhow::Result<()> {
    if let [only] = ids {
        let became = act(JobId(*only)).await?;
        return print_became(output, &[Became::of(*only, Ok(became))]);
    }
    let mut done = Vec::new();
    for id in ids {
        done.push(Became::of(*id, act(JobId(*id)).await));
    }
    print_became(output, &done)
}

async fn cancel_one(db: &PgPool, id: JobId) -> jobs::Result<&'static str> {
    let mut tx = jobs::db::begin(db).await?;
    let tenant = look::job(&mut tx, id, None).await?.tenant_id.map(TenantId);
    let cancelled = cancel_job(&mut tx, id).await?;
    audit::note(&mut tx, tenant, "cli.job.cancel", &json!({ "id": id })).await?;
    tx.commit().await?;
    Ok(match cancelled {
        Cancel::Cancelled(woken) => {
            tell(db, &woken).await;
            "cancelled"
        }
        Cancel::Cancelling => {
            Wake::tell(db, Hint::Cancelled).await;
            "cancelling"
        }
        Cancel::Ended => "had ended",
    })
}

async fn retry_one(db: &PgPool, id: JobId) -> jobs::Result<&'static str> {
    let mut tx = jobs::db::begin(db).await?;
    let job = look::job(&mut tx, id, None).await?;
    let dead = job.state == State::Dead.as_str();
    let woken = if dead {
        control::redrive(&mut tx, id, attempts_of(&job, None)).await?
    } else {
        control::hasten(&mut tx, id).await?
    };
    audit::note(&mut tx, job.tenant_id.map(TenantId), "cli.job.retry", &json!({ "id": id })).await?;
    tx.commit().await?;
    tell(db, &woken).await;
    Ok(if dead { "redriven" } else { "due now" })
}

/// Gives dead letters new attempts.
pub(crate) async fn redrive(
    db: &PgPool,
    ids: &[i64],
    attempts: Option<u16>,
    output: Output,
) -> anyhow::Result<()> {
    each(ids, output, async |id| redrive_one(db, id, attempts).await).await
}

async fn redrive_one(db: &PgPool, id: JobId, attempts: Option<u16>) -> jobs::Result<&'static str> {
    let mut tx = jobs::db::begin(db).await?;
    crash::at(Point::RedriveBegun);
    let job = dead(&mut tx, id).await?;
    let woken = control::redrive(&mut tx, id, attempts_of(&job, attempts)).await?;
    audit::note(
        &mut tx,
        job.tenant_id.map(TenantId),
        "cli.dlq.redrive",
        &json!({ "id": id, "attempts": attempts }),
    )
    .await?;
    tx.commit().await?;
    crash::at(Point::RedriveCommitted);
    tell(db, &woken).await;
    Ok("redriven")
}

/// Decides of dead letters that they are not to be done.
pub(crate) async fn discard(db: &PgPool, ids: &[i64], output: Output) -> anyhow::Result<()> {
    each(ids, output, async |id| discard_one(db, id).await).await
}

async fn discard_one(db: &PgPool, id: JobId) -> jobs::Result<&'static str> {
    let mut tx = jobs::db::begin(db).await?;
    let tenant = dead(&mut tx, id).await?.tenant_id.map(TenantId);
    control::discard(&mut tx, id).await?;
    audit::note(&mut tx, tenant, "cli.dlq.discard", &json!({ "id": id })).await?;
    tx.commit().await?;
    Ok("discarded")
}

/// The job, if it is a dead letter.
///
/// # Errors
/// NotFound for an unknown job, Conflict for one in another state.
pub(crate) async fn dead(conn: &mut PgConnection, id: JobId) -> jobs::Result<JobView> {
    let found = look::job(conn, id, None).await?;
    if found.state == State::Dead.as_str() {
        return Ok(found);
    }
    Err(jobs::Error::conflict(format!(
        "job {id} is no dead letter, it is {}; `millrace job show {id}` tells more",
        found.state.to_lowercase()
    )))
}

fn attempts_of(job: &JobView, wanted: Option<u16>) -> u16 {
    wanted.unwrap_or_else(|| job.kind.parse::<Kind>().map_or(1, |kind| Policy::of(kind).max_attempts))
}

async fn tell(db: &PgPool, pools: &[i32]) {
    for pool in pools {
        Wake::tell(db, Hint::Ready(*pool)).await;
    }
}

/// The first line of an error, short enough for a table.
pub(crate) fn first_line(text: &str) -> String {
    const WIDTH: usize = 60;
    let line = text.lines().next().unwrap_or("");
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}
