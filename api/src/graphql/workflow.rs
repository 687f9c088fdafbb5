//! Workflows: made, changed, checked, listed.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::workflow::store;
use rules::access::{InTenant, Title};
use rules::dag::{self, Compilers, Definition};
use rules::id::WorkflowId;
use serde_json::Value;
use uuid::Uuid;

use super::page::Page;
use super::scope::{app, enter, parse};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::{Fault, InputFault};
use crate::state::App;

/// A graph of nodes that runs execute.
#[derive(SimpleObject)]
pub(crate) struct Workflow {
    /// Its id.
    id: ID,
    /// Its name for people.
    title: String,
    /// The latest version, which new runs pin.
    version: i32,
    /// The nodes and edges of that version.
    definition: Json<Value>,
    /// Since when it starts no more runs.
    disabled_at: Option<DateTime<Utc>>,
    /// Who made it: `user:<id>` or `key:<id>`.
    created_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last saved.
    updated_at: DateTime<Utc>,
}

/// One thing that is wrong with a definition.
#[derive(SimpleObject)]
pub(crate) struct WorkflowFault {
    /// The node it concerns.
    node: Option<String>,
    /// The edge it concerns.
    edge: Option<String>,
    /// The field inside, such as `config.code`.
    field: String,
    /// Which kind of fault it is, such as CYCLE or SCRIPT.
    reason: String,
    /// What is wrong and what to do about it.
    message: String,
}

/// What a check of a definition found.
#[derive(SimpleObject)]
pub(crate) struct WorkflowCheck {
    /// Whether it could be saved.
    valid: bool,
    /// Everything that is wrong with it.
    faults: Vec<WorkflowFault>,
}

impl From<store::Workflow> for Workflow {
    fn from(w: store::Workflow) -> Self {
        Self {
            id: w.id.into(),
            title: w.title,
            version: w.version,
            definition: Json(w.definition),
            disabled_at: w.disabled_at,
            created_by: w.created_by,
            created_at: w.created_at,
            updated_at: w.updated_at,
        }
    }
}

impl From<dag::Fault> for WorkflowFault {
    fn from(f: dag::Fault) -> Self {
        Self {
            node: f.node,
            edge: f.edge,
            field: f.field,
            reason: f.reason.as_str().into(),
            message: f.message,
        }
    }
}

impl From<dag::Fault> for InputFault {
    fn from(f: dag::Fault) -> Self {
        Self {
            node: f.node,
            edge: f.edge,
            field: f.field,
            reason: Some(f.reason.as_str()),
            message: f.message,
        }
    }
}

/// What can be read of workflows.
#[derive(Default)]
pub(crate) struct WorkflowQuery;

/// What can be done with workflows.
#[derive(Default)]
pub(crate) struct WorkflowMutation;

#[Object]
impl WorkflowQuery {
    /// One workflow.
    #[graphql(guard = "SignedIn")]
    async fn workflow(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        id: ID,
    ) -> Result<Workflow, Fault> {
        let id = parse::<WorkflowId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(store::get(&mut conn, id, scope.tenant).await?.into())
    }

    /// A tenant's workflows, newest first.
    #[graphql(guard = "SignedIn")]
    async fn workflows(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Workflow>, Fault> {
        let page = Page::<Uuid>::read("workflows", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let rows = store::page(&mut conn, scope.tenant, page.after.map(WorkflowId), page.limit()).await?;
        Ok(page.of(rows, |w| w.id, Workflow::from))
    }

    /// Checks a definition as saving it would, and saves nothing.
    #[graphql(guard = "SignedIn")]
    async fn validate_workflow(
        &self,
        ctx: &Context<'_>,
        definition: Json<Value>,
    ) -> Result<WorkflowCheck, Fault> {
        let faults = checked(app(ctx), definition.0).await?.err().unwrap_or_default();
        Ok(WorkflowCheck { valid: faults.is_empty(), faults: faults.into_iter().map(Into::into).collect() })
    }
}

#[Object]
impl WorkflowMutation {
    /// Makes a workflow. What is wrong with the definition is told all at once, in `extensions.faults`.
    #[graphql(guard = "SignedIn")]
    async fn create_workflow(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        title: String,
        definition: Json<Value>,
    ) -> Result<Workflow, Fault> {
        let title: Title = title.parse()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let definition = valid(app(ctx), definition.0).await?;
        scope.must_hold(definition.needs())?;
        let (id, by) = (WorkflowId(Uuid::now_v7()), scope.by.to_string());
        store::create(&mut tx, id, scope.tenant, title.as_str(), &definition, &by).await?;
        let saved = store::get(&mut tx, id, scope.tenant).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Saves a new version of a workflow, if it still is at the given one. Runs under way keep the version
    /// that they began with.
    #[graphql(guard = "SignedIn")]
    async fn update_workflow(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        #[graphql(desc = "The version that was edited; a later one is not overwritten.")] version: i32,
        #[graphql(desc = "Stays as it is unless given.")] title: Option<String>,
        definition: Json<Value>,
    ) -> Result<Workflow, Fault> {
        let id = parse::<WorkflowId>(&id, "id")?;
        let title: Option<Title> = title.map(|t| t.parse()).transpose()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let before = store::get(&mut tx, id, scope.tenant).await?;
        let definition = valid(app(ctx), definition.0).await?;
        scope.must_hold(definition.needs())?;
        let title = title.as_ref().map_or(before.title.as_str(), Title::as_str);
        let by = scope.by.to_string();
        store::save(&mut tx, id, scope.tenant, version, title, &definition, &by).await?;
        let saved = store::get(&mut tx, id, scope.tenant).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Lets a workflow start runs, or no more of them. What runs goes on.
    #[graphql(guard = "SignedIn")]
    async fn set_workflow_enabled(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        enabled: bool,
    ) -> Result<Workflow, Fault> {
        let id = parse::<WorkflowId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        store::set_disabled(&mut tx, id, scope.tenant, !enabled).await?;
        let saved = store::get(&mut tx, id, scope.tenant).await?;
        tx.commit().await?;
        Ok(saved.into())
    }
}

/// The definition, if it can be saved.
async fn valid(app: &App, definition: Value) -> Result<Definition, Fault> {
    checked(app, definition).await?.map_err(|faults| {
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        let told = format!("the workflow has {} fault(s), the first: {first}", faults.len());
        Fault::BadInputs(told, faults.into_iter().map(Into::into).collect())
    })
}

/// The definition, or everything that is wrong with it. Hundreds of scripts take a while to compile, so it
/// is done off the threads that answer requests.
async fn checked(app: &App, definition: Value) -> Result<Result<Definition, Vec<dag::Fault>>, Fault> {
    let app = app.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let script = |code: &str| app.sandbox().check(code).map_err(|e| e.to_string());
        let expression = |code: &str| app.sandbox().check_expression(code).map_err(|e| e.to_string());
        dag::validate(definition, &Compilers { script: &script, expression: &expression })
    });
    Ok(checked.await.map_err(jobs::Error::internal)?)
}
