//! `millrace dlq`: look at dead letters, give them new attempts, or decide against them.

use jobs::db::{PgConnection, PgPool};
use jobs::queue::postgres::letters::{self, GROUPED_MAX};
use jobs::queue::postgres::look::JobView;
use rules::id::{JobId, TenantId};
use rules::queue::letter::{Letters, shape};

use super::Dlq;
use super::command::Which;
use crate::command::Output;
use crate::table::{print, say, time};
use crate::{job, known, settings};

pub(crate) async fn run(command: Dlq) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Dlq::List { which, before, limit, output } => list(&db, &which, before, limit, output).await?,
        Dlq::Groups { kind, queue, tenant, since, until, limit, output } => {
            let letters = Letters { kind, queue, since, until, ..Letters::default() };
            groups(&db, tenant, &letters, limit, output).await?;
        }
        Dlq::Show { id, output } => {
            let mut conn = db.acquire().await.map_err(jobs::Error::from)?;
            job::dead(&mut conn, JobId(id)).await?;
            drop(conn);
            job::show(&db, JobId(id), output).await?;
        }
        Dlq::Redrive { ids, attempts, output } => {
            job::redrive(&db, &ids, attempts, output).await?;
        }
        Dlq::Discard { ids, output } => job::discard(&db, &ids, output).await?,
    }
    Ok(())
}

async fn list(
    db: &PgPool,
    which: &Which,
    before: Option<i64>,
    limit: i64,
    output: Output,
) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let page = all_of(&mut conn, which, before, limit).await?;
    if page.is_empty()
        && let Some(tenant) = which.tenant
    {
        known::tenant(&mut conn, tenant).await?;
    }
    job::print_list(output, &page)
}

/// As many as were asked for, however large they are.
async fn all_of(
    conn: &mut PgConnection,
    which: &Which,
    mut before: Option<i64>,
    limit: i64,
) -> jobs::Result<Vec<JobView>> {
    let letters = which.letters();
    let mut all: Vec<JobView> = Vec::new();
    loop {
        let left = limit.saturating_sub(i64::try_from(all.len()).unwrap_or(i64::MAX));
        let page = letters::page(conn, which.tenant, &letters, before, left).await?;
        all.extend(page.rows);
        if !page.cut {
            return Ok(all);
        }
        before = all.last().map(|job| job.id);
    }
}

async fn groups(
    db: &PgPool,
    tenant: Option<TenantId>,
    letters: &Letters,
    limit: i32,
    output: Output,
) -> jobs::Result<()> {
    let mut conn = db.acquire().await?;
    let told = letters::groups(&mut conn, tenant, letters, limit).await?;
    if told.groups.is_empty()
        && let Some(tenant) = tenant
    {
        known::tenant(&mut conn, tenant).await?;
    }
    let rows: Vec<Vec<String>> = told
        .groups
        .iter()
        .map(|group| {
            vec![
                group.fingerprint.clone(),
                group.count.to_string(),
                group.kind.clone(),
                time(group.first_at),
                time(group.last_at),
                group.sample_id.to_string(),
                job::first_line(&shape(&group.sample_error)),
            ]
        })
        .collect();
    print(output, &told, &["GROUP", "COUNT", "KIND", "FIRST DIED", "LAST DIED", "NEWEST", "ERROR"], &rows)?;
    if !told.complete && !output.json {
        say(format!("of the newest {GROUPED_MAX} dead letters; there are more"));
    }
    Ok(())
}
