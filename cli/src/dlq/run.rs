//! `millrace dlq`: look at dead letters, give them new attempts, or decide against them.

use jobs::db::{PgConnection, PgPool};
use jobs::queue::postgres::letters::{self, Bound, GROUPED_MAX};
use jobs::queue::postgres::look::JobView;
use rules::id::{JobId, TenantId};
use rules::queue::letter::{Letters, shape};
use rules::queue::sweep::SweepAction;

use super::command::{Matching, Which};
use super::{Dlq, sweep};
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
        Dlq::Redrive { ids, matching, attempts, output } => {
            if matching.is_meant()? {
                sweep::begin(&db, SweepAction::Redrive, &matching, attempts, output).await?;
            } else {
                job::redrive(&db, &ids, attempts, output).await?;
            }
        }
        Dlq::Discard { ids, matching, output } => {
            if matching.is_meant()? {
                sweep::begin(&db, SweepAction::Discard, &matching, None, output).await?;
            } else {
                job::discard(&db, &ids, output).await?;
            }
        }
        Dlq::Sweeps { tenant, limit, output } => sweep::list(&db, tenant, limit, output).await?,
        Dlq::Sweep { id, output } => sweep::show(&db, id, output).await?,
        Dlq::Stop { id, output } => sweep::stop(&db, id, output).await?,
    }
    Ok(())
}

impl Matching {
    /// Whether all that match are meant.
    ///
    /// # Errors
    /// Invalid where something that is said of all that match is said of single ones, which are named by their ids.
    fn is_meant(&self) -> jobs::Result<bool> {
        if !self.all_matching && (self.which.restricts() || self.dry_run || self.rate.is_some()) {
            let told = "ids name the dead letters one by one; what restricts, `--dry-run` and `--rate` go with \
                        `--all-matching` in their place";
            return Err(jobs::Error::invalid(told));
        }
        Ok(self.all_matching)
    }
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
        let page = letters::page(conn, which.tenant, &letters, before, left, Bound::USUAL).await?;
        all.extend(page.letters.rows);
        before = match page.reached {
            None if !page.letters.cut => return Ok(all),
            None => all.last().map(|job| job.id),
            reached => reached,
        };
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
