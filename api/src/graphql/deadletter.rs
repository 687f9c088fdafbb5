//! Dead letters: what could not be done, and another try.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result};
use jobs::queue::postgres::look::{self, Filter};
use rules::access::InTenant;
use rules::queue::State;

use super::job::{Job, redrive};
use super::page::Page;
use super::scope::{app, enter_or_all, parse_job};
use crate::auth::SignedIn;
use crate::error::Fault;

/// Dead letters that one call redrives, in one transaction.
const MAX_REDRIVE: usize = 100;

/// What can be read of dead letters.
#[derive(Default)]
pub(crate) struct DeadLetterQuery;

/// What can be done with dead letters.
#[derive(Default)]
pub(crate) struct DeadLetterMutation;

#[Object]
impl DeadLetterQuery {
    /// Dead letters, newest job first.
    #[graphql(guard = "SignedIn")]
    async fn dead_letters(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        kind: Option<String>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Job>, Fault> {
        let page = Page::<i64>::read("deadLetters", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let filter = Filter { tenant, state: Some(State::Dead), kind, before: page.after, from: None };
        let rows = look::page(&mut conn, &filter, page.limit()).await?;
        page.try_of(rows, |j| j.id, Job::try_from)
    }

    /// One dead letter, with every attempt.
    #[graphql(guard = "SignedIn")]
    async fn dead_letter(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        id: ID,
    ) -> Result<Job, Fault> {
        let id = parse_job(&id)?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let job = look::job(&mut conn, id, tenant).await?;
        if job.state != State::Dead.as_str() {
            return Err(jobs::Error::not_found(format!("job {id} is not among the dead letters")).into());
        }
        job.try_into()
    }
}

#[Object]
impl DeadLetterMutation {
    /// Gives dead letters new attempts: all of the given ones, or none when one cannot be.
    #[graphql(guard = "SignedIn")]
    async fn redrive_dead_letters(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        ids: Vec<ID>,
    ) -> Result<Vec<ID>, Fault> {
        if !(1..=MAX_REDRIVE).contains(&ids.len()) {
            let told = format!("`ids` has {} entries; it must have between 1 and {MAX_REDRIVE}", ids.len());
            return Err(Fault::BadInput(told));
        }
        let mut tx = jobs::db::begin(&app(ctx).db).await?;
        let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let mut pools = Vec::new();
        for id in &ids {
            pools.extend(redrive(&mut tx, parse_job(id)?, tenant).await?);
        }
        tx.commit().await?;
        pools.sort_unstable();
        pools.dedup();
        app(ctx).wake().pools(&pools);
        Ok(ids)
    }
}
