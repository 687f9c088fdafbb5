//! `millrace job`: look at jobs and act on them.

use jobs::db::PgPool;
use jobs::queue::Wake;
use jobs::queue::postgres::control::{self, Cancel};
use jobs::queue::postgres::look::{self, FailedAttempt, Filter, JobView};
use jobs::queue::wake::Hint;
use rules::id::JobId;
use rules::queue::{Kind, Policy, State};
use serde::Serialize;

use crate::command::{Job, Output};
use crate::settings;
use crate::table::{cell, print, print_one, time};

pub(crate) async fn run(command: Job) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Job::List { state, kind, tenant, before, limit, output } => {
            list(&db, &Filter { tenant, state, kind, before }, limit, output).await?;
        }
        Job::Show { id, output } => show(&db, JobId(id), output).await?,
        Job::Cancel { ids, output } => cancel(&db, &ids, output).await?,
        Job::Retry { ids, output } => retry(&db, &ids, None, output).await?,
    }
    Ok(())
}

/// Prints a page of jobs.
pub(crate) async fn list(db: &PgPool, filter: &Filter, limit: i64, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let page = look::page(&mut conn, filter, limit).await?;
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

/// A job with all that is known of it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: JobView,
    why_code: Option<&'static str>,
    why: Option<String>,
    attempts: Vec<FailedAttempt>,
}

/// Prints one job.
pub(crate) async fn show(db: &PgPool, id: JobId, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let job = look::job(&mut conn, id, None).await?;
    let why = look::why(&mut conn, id).await?;
    let attempts = look::attempts(&mut conn, id).await?;
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
}

fn print_became(output: Output, done: &[Became]) -> jobs::Result<()> {
    let rows: Vec<Vec<String>> = done.iter().map(|d| vec![d.id.to_string(), d.became.to_owned()]).collect();
    print(output, &done, &["ID", "BECAME"], &rows)
}

async fn cancel(db: &PgPool, ids: &[i64], output: Output) -> jobs::Result<()> {
    let mut done = Vec::new();
    for id in ids {
        let mut tx = jobs::db::begin(db).await?;
        let cancelled = control::cancel(&mut tx, JobId(*id)).await?;
        tx.commit().await?;
        let became = match cancelled {
            Cancel::Cancelled(woken) => {
                tell(db, &woken).await;
                "cancelled"
            }
            Cancel::Cancelling => {
                Wake::tell(db, Hint::Cancelled).await;
                "cancelling"
            }
            Cancel::Ended => "had ended",
        };
        done.push(Became { id: *id, became });
    }
    print_became(output, &done)
}

/// Tries jobs again: waiting ones now, dead ones with new attempts.
pub(crate) async fn retry(
    db: &PgPool,
    ids: &[i64],
    attempts: Option<u16>,
    output: Output,
) -> jobs::Result<()> {
    let mut done = Vec::new();
    for id in ids {
        let mut tx = jobs::db::begin(db).await?;
        let job = look::job(&mut tx, JobId(*id), None).await?;
        let dead = job.state == State::Dead.as_str();
        let woken = if dead {
            let own = job.kind.parse::<Kind>().map_or(1, |kind| Policy::of(kind).max_attempts);
            control::redrive(&mut tx, JobId(*id), attempts.unwrap_or(own)).await?
        } else {
            control::hasten(&mut tx, JobId(*id)).await?
        };
        tx.commit().await?;
        tell(db, &woken).await;
        done.push(Became { id: *id, became: if dead { "redriven" } else { "due now" } });
    }
    print_became(output, &done)
}

async fn tell(db: &PgPool, pools: &[i32]) {
    for pool in pools {
        Wake::tell(db, Hint::Ready(*pool)).await;
    }
}

/// The first line of an error, short enough for a table.
fn first_line(text: &str) -> String {
    const WIDTH: usize = 60;
    let line = text.lines().next().unwrap_or("");
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}
