//! From a field's arguments to the tenant in which it may act.

use std::str::FromStr;

use async_graphql::{Context, ID};
use jobs::tenant::Tenant;
use rules::access::{Denied, InTenant, Overall, Principal, in_tenant, overall};
use rules::id::{JobId, TenantId};
use sqlx::PgConnection;

use crate::auth::{Caller, principal};
use crate::error::Fault;
use crate::state::App;

/// A tenant that the principal may act in. Made by [`enter`] alone, and what a domain's statements are
/// scoped by.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) tenant: TenantId,
    pub(crate) by: Principal,
}

/// The application behind a field.
pub(crate) fn app<'a>(ctx: &Context<'a>) -> &'a App {
    ctx.data_unchecked::<App>()
}

/// The W3C `traceparent` for what a field causes.
pub(crate) fn trace_parent<'a>(ctx: &Context<'a>) -> Option<&'a str> {
    ctx.data_opt::<Caller>().and_then(|caller| caller.trace_parent.as_deref())
}

/// Enters the tenant that is named, or the key's own.
///
/// # Errors
/// [`Denied::Stranger`] for a tenant that does not exist and for one of others alike.
pub(crate) async fn enter(
    ctx: &Context<'_>,
    conn: &mut PgConnection,
    tenant: Option<&ID>,
    wish: InTenant,
) -> Result<Scope, Fault> {
    let by = principal(ctx)?;
    let wanted = match (tenant, by) {
        (Some(id), _) => parse::<TenantId>(id, "tenant")?,
        (None, Principal::Key { tenant, .. }) => *tenant,
        (None, Principal::User { .. }) => {
            return Err(Fault::BadInput("`tenant` is needed; only an API key has one of its own".into()));
        }
    };
    let (tenant, standing) = look_up(conn, wanted, by).await?;
    in_tenant(by, standing, tenant.disabled_at.is_some(), wish)?;
    Ok(Scope { tenant: wanted, by: by.clone() })
}

/// Enters a tenant, or, for an operator of the installation who names none, all of them at once: none.
///
/// # Errors
/// As [`enter`].
pub(crate) async fn enter_or_all(
    ctx: &Context<'_>,
    conn: &mut PgConnection,
    tenant: Option<&ID>,
    wish: InTenant,
) -> Result<Option<TenantId>, Fault> {
    if tenant.is_none() && overall(principal(ctx)?, Overall::Operate).is_ok() {
        return Ok(None);
    }
    Ok(Some(enter(ctx, conn, tenant, wish).await?.tenant))
}

async fn look_up(
    conn: &mut PgConnection,
    wanted: TenantId,
    by: &Principal,
) -> Result<(Tenant, Option<rules::access::TenantRole>), Fault> {
    let user = match by {
        Principal::User { id, .. } => Some(*id),
        Principal::Key { .. } => None,
    };
    let found = jobs::tenant::store::find(conn, Some(wanted), None, user).await?;
    let (tenant, membership) = found.ok_or(Denied::Stranger)?;
    let standing = match by {
        Principal::User { .. } => membership,
        Principal::Key { tenant: own, role, .. } => (*own == wanted).then_some(*role),
    };
    Ok((tenant, standing))
}

/// Reads an id out of the argument of that name.
///
/// # Errors
/// [`Fault::BadInput`] naming the argument.
pub(crate) fn parse<T: FromStr>(id: &ID, name: &str) -> Result<T, Fault> {
    id.parse().map_err(|_| Fault::BadInput(format!("`{name}` is no id")))
}

/// Reads a job's id.
///
/// # Errors
/// [`Fault::BadInput`] when it is no number.
pub(crate) fn parse_job(id: &ID) -> Result<JobId, Fault> {
    parse::<i64>(id, "id").map(JobId)
}
