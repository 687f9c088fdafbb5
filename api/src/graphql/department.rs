//! Departments: the owners of machines inside a tenant.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::department::store;
use rules::access::{InTenant, Title};
use rules::id::DepartmentId;
use uuid::Uuid;

use super::page::Page;
use super::scope::{app, enter, parse};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;

/// A part of a tenant that owns machines.
#[derive(SimpleObject)]
pub(crate) struct Department {
    /// Its id.
    id: ID,
    /// Its name, one of its kind in its tenant whatever its case.
    name: String,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl From<store::Department> for Department {
    fn from(d: store::Department) -> Self {
        Self { id: d.id.into(), name: d.name, created_at: d.created_at }
    }
}

/// What can be read of departments.
#[derive(Default)]
pub(crate) struct DepartmentQuery;

/// What can be done with departments.
#[derive(Default)]
pub(crate) struct DepartmentMutation;

#[Object]
impl DepartmentQuery {
    /// One department.
    #[graphql(guard = "SignedIn")]
    async fn department(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Department, Fault> {
        let id = parse::<DepartmentId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(store::get(&mut conn, scope.tenant, id).await?.into())
    }

    /// The department of that name, whatever its case; null when there is none.
    #[graphql(guard = "SignedIn")]
    async fn find_department_by_name(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        name: String,
    ) -> Result<Option<Department>, Fault> {
        let name: Title = name.parse()?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(store::by_name(&mut conn, scope.tenant, name.as_str()).await?.map(Into::into))
    }

    /// A tenant's departments, oldest first.
    #[graphql(guard = "SignedIn")]
    async fn departments(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Department>, Fault> {
        let page = Page::<Uuid>::read("departments", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let rows = store::page(&mut conn, scope.tenant, page.after.map(DepartmentId), page.limit()).await?;
        Ok(page.of(rows, |d| d.id, Department::from))
    }
}

#[Object]
impl DepartmentMutation {
    /// Makes a department.
    #[graphql(guard = "SignedIn")]
    async fn create_department(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        name: String,
    ) -> Result<Department, Fault> {
        let name: Title = name.parse()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let made = store::insert(&mut tx, scope.tenant, &name).await?;
        tx.commit().await?;
        Ok(made.into())
    }

    /// Renames a department.
    #[graphql(guard = "SignedIn")]
    async fn update_department_name(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        name: String,
    ) -> Result<Department, Fault> {
        let (id, name) = (parse::<DepartmentId>(&id, "id")?, name.parse::<Title>()?);
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let renamed = store::rename(&mut tx, scope.tenant, id, &name).await?;
        tx.commit().await?;
        Ok(renamed.into())
    }

    /// Removes a department that has no machines.
    #[graphql(guard = "SignedIn")]
    async fn destroy_department(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<bool, Fault> {
        let id = parse::<DepartmentId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        store::release_destroyed(&mut tx, scope.tenant, id).await?;
        store::delete(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        Ok(true)
    }
}
