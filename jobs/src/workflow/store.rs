//! Keeps workflows and every version of their definitions.

use chrono::{DateTime, Utc};
use rules::dag::Definition;
use rules::id::{TenantId, WorkflowId};
use rules::kept;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{MAX_FETCHED, Slice, slice};
use crate::{Error, Listing, Result};

/// A workflow with its latest definition.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its name for people, 1 to 255 characters.
    pub title: String,
    /// The latest version, which new runs pin.
    pub version: i32,
    /// The definition of that version, in the form in which it was saved.
    pub definition: Value,
    /// Since when it starts no more runs.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last saved.
    pub updated_at: DateTime<Utc>,
}

/// A pinned definition.
#[derive(Debug, Clone)]
pub struct Version {
    /// The workflow.
    pub workflow_id: Uuid,
    /// Which version.
    pub version: i32,
    /// What it says.
    pub definition: Value,
}

/// Makes a workflow with its first version.
///
/// # Errors
/// Invalid for a title beyond its bounds, NotFound for an unknown tenant.
pub async fn create(
    conn: &mut PgConnection,
    id: WorkflowId,
    tenant: TenantId,
    title: &str,
    definition: &Definition,
    by: &str,
) -> Result<()> {
    sqlx::query!(
        "insert into workflow (id, tenant_id, title, created_by) values ($1, $2, $3, $4)",
        id.0,
        tenant.0,
        title,
        by
    )
    .execute(&mut *conn)
    .await
    .map_err(|e| named(e, title))?;
    first_version(conn, id, definition, by).await
}

/// A statement of its own: the policy of the versions sees no workflow that the same statement makes.
async fn first_version(
    conn: &mut PgConnection,
    id: WorkflowId,
    definition: &Definition,
    by: &str,
) -> Result<()> {
    sqlx::query!(
        "insert into workflow_version (workflow_id, version, definition, created_by) values ($1, 1, $2, $3)",
        id.0,
        definition.as_json(),
        by
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Saves a new version, which runs started from now on pin, if the workflow still is at `edited`. Returns
/// its number.
///
/// # Errors
/// Conflict when it is not, or the tenant has no such workflow; Invalid for a title beyond its bounds.
pub async fn save(
    conn: &mut PgConnection,
    id: WorkflowId,
    tenant: TenantId,
    edited: i32,
    title: &str,
    definition: &Definition,
    by: &str,
) -> Result<i32> {
    let row = sqlx::query!(
        "with w as (
            update workflow set title = $3, version = version + 1, updated_at = now()
            where id = $1 and tenant_id = $2 and version = $6 returning id, version)
        insert into workflow_version (workflow_id, version, definition, created_by)
        select id, version, $4, $5 from w returning version",
        id.0,
        tenant.0,
        title,
        definition.as_json(),
        by,
        edited
    )
    .fetch_optional(conn)
    .await
    .map_err(|e| named(e, title))?;
    row.map(|r| r.version).ok_or_else(|| {
        Error::conflict(format!(
            "workflow `{id}` is not at version {edited} any more; read it again and repeat the change"
        ))
    })
}

/// Lets a workflow start runs, or no more of them. What runs goes on.
///
/// # Errors
/// NotFound when the tenant has no such workflow.
pub async fn set_disabled(
    conn: &mut PgConnection,
    id: WorkflowId,
    tenant: TenantId,
    disabled: bool,
) -> Result<()> {
    let done = sqlx::query!(
        "update workflow set disabled_at = case when $3 then coalesce(disabled_at, now()) end, updated_at = now()
        where id = $1 and tenant_id = $2",
        id.0,
        tenant.0,
        disabled
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(unknown(id)) }
}

/// One workflow of a tenant.
///
/// # Errors
/// NotFound when the tenant has no such workflow.
pub async fn get(conn: &mut PgConnection, id: WorkflowId, tenant: TenantId) -> Result<Workflow> {
    let found = sqlx::query_as!(
        Workflow,
        "select w.id, w.tenant_id, w.title, w.version, v.definition, w.disabled_at, w.created_by, w.created_at, w.updated_at
        from workflow w join workflow_version v on v.workflow_id = w.id and v.version = w.version
        where w.id = $1 and w.tenant_id = $2",
        id.0,
        tenant.0
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or_else(|| unknown(id))
}

/// A page of a tenant's workflows, newest first, beginning after `before`.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    before: Option<WorkflowId>,
    limit: i64,
) -> Result<Slice<Workflow>> {
    let rows = sqlx::query_as!(
        Workflow,
        "select w.id, w.tenant_id, w.title, w.version, v.definition, w.disabled_at, w.created_by, w.created_at, w.updated_at
        from workflow w join workflow_version v on v.workflow_id = w.id and v.version = w.version
        where w.tenant_id = $1 and ($2::uuid is null or w.id < $2)
        order by w.id desc limit $3",
        tenant.0,
        before.map(|b| b.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    slice(rows, |w| kept::bytes(&w.definition)).await
}

/// A pinned version, for the run that pins it.
///
/// # Errors
/// NotFound when there is none.
pub async fn version(conn: &mut PgConnection, id: WorkflowId, version: i32) -> Result<Version> {
    let found = sqlx::query_as!(
        Version,
        "select workflow_id, version, definition from workflow_version where workflow_id = $1 and version = $2",
        id.0,
        version
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or_else(|| Error::not_found(format!("workflow `{id}` has no version {version}")))
}

fn unknown(id: WorkflowId) -> Error {
    Error::not_found(format!("there is no workflow `{id}`")).listed_in(Listing::Workflows)
}

fn named(error: sqlx::Error, title: &str) -> Error {
    match error.as_database_error().and_then(|e| e.constraint()) {
        Some("workflow_title_check") => Error::invalid(format!(
            "the title has {} characters; a workflow's title has between 1 and 255",
            title.chars().count()
        )),
        Some("workflow_tenant_id_fkey") => Error::not_found("there is no such tenant"),
        _ => error.into(),
    }
}

/// Who saved a version: `user:<id>` or `key:<id>`.
///
/// # Errors
/// NotFound for an unknown version.
pub async fn author(conn: &mut PgConnection, workflow: WorkflowId, number: i32) -> Result<String> {
    sqlx::query_scalar!(
        "select created_by from workflow_version where workflow_id = $1 and version = $2",
        workflow.0,
        number
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("there is no version {number} of workflow `{workflow}`")))
}
