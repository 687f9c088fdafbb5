//! Sweeps of dead letters: begun, looked at and stopped by an operator.

use jobs::db::PgPool;
use jobs::queue::Wake;
use jobs::queue::postgres::letters::{self, Bound};
use jobs::queue::wake::Hint;
use jobs::sweep::{self, SweepView, Wish};
use rules::id::{SweepId, TenantId};
use rules::queue::sweep::{RATE, SweepAction};
use serde_json::json;

use super::command::Matching;
use crate::command::Output;
use crate::table::{cell, print, print_one, print_said, time};
use crate::{audit, known};

/// Begins one of all that match, or tells how many these are.
pub(super) async fn begin(
    db: &PgPool,
    action: SweepAction,
    matching: &Matching,
    attempts: Option<u16>,
    output: Output,
) -> jobs::Result<()> {
    let (tenant, letters) = (matching.which.tenant, matching.which.letters());
    let mut tx = jobs::db::begin(db).await?;
    if let Some(tenant) = tenant {
        known::tenant(&mut tx, tenant).await?;
    }
    if matching.dry_run {
        let found = letters::count(&mut tx, tenant, &letters, Bound::USUAL).await?;
        tx.rollback().await?;
        let least = if found.complete { "" } else { "at least " };
        let said = format!("{least}{} dead letter(s) match; nothing was done", found.count);
        return print_said(output, &json!({ "matched": found.count, "complete": found.complete }), &said);
    }
    let by = audit::operator();
    let rate = matching.rate.unwrap_or(RATE);
    let given = json!({ "letters": letters, "attempts": attempts, "rate": rate });
    let wish = Wish { tenant, action, letters, attempts, rate, by: &by, trace_parent: None };
    let (begun, enqueued) = sweep::ask(&mut tx, wish).await?;
    let operation = match action {
        SweepAction::Redrive => "cli.dlq.redrive-matching",
        SweepAction::Discard => "cli.dlq.discard-matching",
    };
    audit::note(&mut tx, tenant, operation, &given).await?;
    tx.commit().await?;
    for job in &enqueued {
        Wake::tell(db, Hint::Ready(job.pool)).await;
    }
    print_sweep(output, &begun)
}

/// Prints the newest.
pub(super) async fn list(
    db: &PgPool,
    tenant: Option<TenantId>,
    limit: i64,
    output: Output,
) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let sweeps = sweep::page(&mut conn, tenant, None, limit).await?.rows;
    let rows: Vec<Vec<String>> = sweeps
        .iter()
        .map(|sweep| {
            vec![
                sweep.id.to_string(),
                sweep.action.to_lowercase(),
                sweep.state.to_lowercase(),
                format!("{} of {}", sweep.done, matched(sweep)),
                sweep.refused.to_string(),
                time(sweep.asked_at),
                sweep.asked_by.clone(),
            ]
        })
        .collect();
    print(output, &sweeps, &["ID", "ACTION", "STATE", "DONE", "REFUSED", "ASKED", "BY"], &rows)
}

/// Prints one.
pub(super) async fn show(db: &PgPool, id: SweepId, output: Output) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    print_sweep(output, &sweep::get(&mut conn, None, id).await?)
}

/// Ends one.
pub(super) async fn stop(db: &PgPool, id: SweepId, output: Output) -> jobs::Result<()> {
    let mut tx = jobs::db::begin(db).await?;
    let ended = sweep::cancel(&mut tx, None, id, &audit::operator()).await?;
    let tenant = ended.tenant_id.map(TenantId);
    audit::note(&mut tx, tenant, "cli.dlq.stop", &json!({ "id": id })).await?;
    tx.commit().await?;
    print_sweep(output, &ended)
}

/// How many matched, as far as they were counted.
fn matched(sweep: &SweepView) -> String {
    format!("{}{}", sweep.matched, if sweep.matched_complete { "" } else { " and more" })
}

fn print_sweep(output: Output, sweep: &SweepView) -> jobs::Result<()> {
    let letters = json!(sweep.letters).to_string();
    let lines = [
        ("sweep", sweep.id.to_string()),
        ("action", sweep.action.to_lowercase()),
        ("letters", letters),
        ("tenant", cell(sweep.tenant_id)),
        ("attempts", cell(sweep.attempts)),
        ("rate", format!("{} a second", sweep.rate)),
        ("state", sweep.state.to_lowercase()),
        ("job", sweep.job_id.to_string()),
        ("matched", matched(sweep)),
        ("done", sweep.done.to_string()),
        ("refused", sweep.refused.to_string()),
        ("refusal", cell(sweep.refusal.as_deref())),
        ("error", cell(sweep.error.as_deref())),
        ("asked", format!("{} by {}", time(sweep.asked_at), sweep.asked_by)),
        ("ended", cell(sweep.ended_at.map(time))),
        ("stopped by", cell(sweep.ended_by.as_deref())),
    ];
    print_one(output, sweep, &lines)
}
