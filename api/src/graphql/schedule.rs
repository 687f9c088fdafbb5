//! Schedules: made, changed, switched off and on, run by hand, previewed.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result};
use chrono::{DateTime, Utc};
use jobs::firing;
use jobs::schedule::{self, Filter, SaveError, Wish};
use rules::access::{InTenant, Title};
use rules::id::{ScheduleId, WorkflowId};
use rules::schedule::{Draft, When};
use serde_json::json;
use uuid::Uuid;

use super::page::Page;
use super::schedule_view::{Firing, Schedule, ScheduleInput, ScheduleStatus, count_of};
use super::scope::{Scope, app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::{Fault, InputFault};

impl From<SaveError> for Fault {
    fn from(error: SaveError) -> Self {
        let told = error.to_string();
        match error {
            SaveError::House(error) => error.into(),
            SaveError::Faults(faults) => Self::BadInputs(told, faults.into_iter().map(shown).collect()),
        }
    }
}

fn shown(fault: rules::schedule::Fault) -> InputFault {
    InputFault::of(fault.field, None, fault.message)
}

/// What can be read of schedules.
#[derive(Default)]
pub(crate) struct ScheduleQuery;

/// What can be done with schedules.
#[derive(Default)]
pub(crate) struct ScheduleMutation;

#[Object]
impl ScheduleQuery {
    /// One schedule.
    #[graphql(guard = "SignedIn")]
    async fn schedule(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        id: ID,
    ) -> Result<Schedule, Fault> {
        let id = parse::<ScheduleId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        schedule::get(&mut conn, Some(scope.tenant), id).await?.try_into()
    }

    /// A tenant's schedules, newest first.
    #[graphql(guard = "SignedIn")]
    async fn schedules(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        #[graphql(desc = "Only those of this workflow.")] workflow: Option<ID>,
        #[graphql(desc = "Only those that are disabled, or that are not.")] is_disabled: Option<bool>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Schedule>, Fault> {
        let page = Page::<Uuid>::read("schedules", first, after.as_deref())?;
        let workflow = workflow.map(|id| parse::<WorkflowId>(&id, "workflow")).transpose()?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let filter = Filter { tenant: Some(scope.tenant), workflow, disabled: is_disabled };
        let rows = schedule::page(&mut conn, &filter, page.after.map(ScheduleId), page.limit()).await?;
        // An unknown workflow is told; an empty page would hide it.
        if let Some(workflow) = workflow.filter(|_| rows.is_empty()) {
            jobs::workflow::store::get(&mut conn, workflow, scope.tenant).await?;
        }
        page.try_of(rows, |s| s.id, Schedule::try_from)
    }

    /// How a tenant's schedules are getting on.
    #[graphql(guard = "SignedIn")]
    async fn schedule_status(&self, ctx: &Context<'_>, tenant: Option<ID>) -> Result<ScheduleStatus, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(schedule::counts(&mut conn, scope.tenant).await?.into())
    }

    /// The next times at which a schedule would be due that is not saved yet. What is wrong is told all at once, in
    /// `extensions.faults`.
    #[graphql(guard = "SignedIn")]
    async fn preview_schedule(
        &self,
        ctx: &Context<'_>,
        cron: Option<String>,
        time_zone: Option<String>,
        interval_seconds: Option<i64>,
        at: Option<DateTime<Utc>>,
        #[graphql(desc = "1 to 100; 5 if not said.")] count: Option<i32>,
    ) -> Result<Vec<DateTime<Utc>>, Fault> {
        let count = count_of(count)?;
        let draft = Draft {
            cron: cron.as_deref(),
            time_zone: time_zone.as_deref(),
            interval_s: interval_seconds,
            at,
        };
        let now = schedule::now(&mut *app(ctx).db.acquire().await?).await?;
        let when = When::read(&draft, now).map_err(SaveError::Faults)?;
        let timing = when.timing().map_err(|fault| SaveError::Faults(vec![fault]))?;
        Ok(timing.upcoming(now, count))
    }
}

#[Object]
impl ScheduleMutation {
    /// Makes a schedule. What is wrong with it is told all at once, in `extensions.faults`. Whoever makes one must be
    /// allowed to execute workflows.
    #[graphql(guard = "SignedIn")]
    async fn create_schedule(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        input: ScheduleInput,
    ) -> Result<Schedule, Fault> {
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let (title, workflow, by) = named(&input, &scope)?;
        let wish = wish(&input, &title, workflow, &by);
        let made = schedule::create(&mut tx, scope.tenant, &wish).await?.try_into()?;
        tx.commit().await?;
        Ok(made)
    }

    /// Changes all of a schedule, if it still is at the given version. From then on it fires with the rights of
    /// whoever changed it.
    #[graphql(guard = "SignedIn")]
    async fn update_schedule(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        #[graphql(desc = "The version that was edited; a later one is not overwritten.")] version: i32,
        input: ScheduleInput,
    ) -> Result<Schedule, Fault> {
        let id = parse::<ScheduleId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let (title, workflow, by) = named(&input, &scope)?;
        let wish = wish(&input, &title, workflow, &by);
        let saved = schedule::update(&mut tx, scope.tenant, id, version, &wish).await?.try_into()?;
        tx.commit().await?;
        Ok(saved)
    }

    /// Makes a schedule like another. It is disabled, so that it can be changed before it fires.
    #[graphql(guard = "SignedIn")]
    async fn clone_schedule(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        title: String,
    ) -> Result<Schedule, Fault> {
        let id = parse::<ScheduleId>(&id, "id")?;
        let title: Title = title.parse()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let by = scope.by.to_string();
        let made = schedule::clone(&mut tx, scope.tenant, id, &title, &by).await?.try_into()?;
        tx.commit().await?;
        Ok(made)
    }

    /// Lets a schedule fire, or not. Enabled again it goes on with the next tick; those in between are not missed. Whoever
    /// does it must be allowed to execute workflows.
    #[graphql(guard = "SignedIn")]
    async fn set_schedule_enabled(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        enabled: bool,
    ) -> Result<Schedule, Fault> {
        let id = parse::<ScheduleId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let saved = schedule::set_disabled(&mut tx, scope.tenant, id, !enabled).await?.try_into()?;
        tx.commit().await?;
        Ok(saved)
    }

    /// Fires a schedule now, beside its ticks and though it is disabled. Answers the firing, whose run a worker starts.
    #[graphql(guard = "SignedIn")]
    async fn run_schedule(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Firing, Fault> {
        let id = parse::<ScheduleId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let trace = trace_parent(ctx).map(str::to_owned);
        let by = scope.by.to_string();
        let (fired, enqueued) = schedule::run(&mut tx, scope.tenant, id, &by, trace).await?;
        let fired = firing::get(&mut tx, scope.tenant, fired).await?.try_into()?;
        tx.commit().await?;
        app(ctx).wake().send(&enqueued);
        Ok(fired)
    }

    /// Deletes a schedule. Runs that it started go on; firings that wait fail.
    #[graphql(guard = "SignedIn")]
    async fn delete_schedule(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<bool, Fault> {
        let id = parse::<ScheduleId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        schedule::delete(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// What an input names: its title, the workflow, and who saves it.
fn named(input: &ScheduleInput, scope: &Scope) -> Result<(Title, WorkflowId, String), Fault> {
    Ok((input.title.parse()?, parse::<WorkflowId>(&input.workflow, "workflow")?, scope.by.to_string()))
}

fn wish<'a>(input: &'a ScheduleInput, title: &'a Title, workflow: WorkflowId, by: &'a str) -> Wish<'a> {
    static EMPTY: std::sync::LazyLock<serde_json::Value> = std::sync::LazyLock::new(|| json!({}));
    Wish {
        title,
        description: &input.description,
        workflow,
        input: input.workflow_config.as_ref().map_or(&EMPTY, |config| &config.0),
        draft: Draft {
            cron: input.cron.as_deref(),
            time_zone: input.time_zone.as_deref(),
            interval_s: input.interval_seconds,
            at: input.at,
        },
        catch_up: input.catch_up.as_str(),
        catch_up_max: input.catch_up_max,
        timeout_s: input.timeout_seconds,
        retries: input.retry_attempts,
        retry_delay_s: input.retry_delay_seconds,
        disabled: input.is_disabled,
        by,
    }
}
