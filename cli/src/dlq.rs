//! `millrace dlq`: look at dead letters and give them new attempts.

use jobs::queue::postgres::look::{self, Filter};
use rules::id::JobId;
use rules::queue::State;

use crate::command::Dlq;
use crate::{job, settings};

pub(crate) async fn run(command: Dlq) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Dlq::List { kind, tenant, before, limit, output } => {
            let filter = Filter { tenant, state: Some(State::Dead), kind, before };
            job::list(&db, &filter, limit, output).await?;
        }
        Dlq::Show { id, output } => {
            let mut conn = db.acquire().await.map_err(jobs::Error::from)?;
            check_dead(&mut conn, id).await?;
            drop(conn);
            job::show(&db, JobId(id), output).await?;
        }
        Dlq::Redrive { ids, attempts, output } => {
            let mut conn = db.acquire().await.map_err(jobs::Error::from)?;
            // All or none: a list with a wrong id in it is a mistake to be shown before anything moves.
            for id in &ids {
                check_dead(&mut conn, *id).await?;
            }
            drop(conn);
            job::retry(&db, &ids, attempts, output).await?;
        }
    }
    Ok(())
}

async fn check_dead(conn: &mut jobs::db::PgConnection, id: i64) -> jobs::Result<()> {
    let found = look::job(conn, JobId(id), None).await?;
    if found.state == State::Dead.as_str() {
        return Ok(());
    }
    Err(jobs::Error::conflict(format!(
        "job {id} is no dead letter, it is {}; `millrace job show {id}` tells more",
        found.state.to_lowercase()
    )))
}
