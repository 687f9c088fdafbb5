//! `millrace dlq`: look at dead letters, give them new attempts, or decide against them.

use jobs::queue::postgres::look::Filter;
use rules::id::JobId;
use rules::queue::State;

use crate::command::Dlq;
use crate::{job, settings};

pub(crate) async fn run(command: Dlq) -> anyhow::Result<()> {
    let db = settings::operator().await?;
    match command {
        Dlq::List { kind, tenant, before, limit, output } => {
            let filter = Filter { tenant, state: Some(State::Dead), kind, before, ..Filter::default() };
            job::list(&db, &filter, limit, output).await?;
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
