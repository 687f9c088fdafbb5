//! Guards on fields: who may ask for them at all.

use async_graphql::{Context, Guard};
use rules::access::{Denied, Overall, Principal, overall};

use super::Caller;
use crate::error::Fault;

/// Somebody is logged in or shows a key. What they may do in a tenant is decided where the tenant is known.
pub(crate) struct SignedIn;

/// The principal may do this to the installation.
pub(crate) struct MayOverall(pub Overall);

impl Guard for SignedIn {
    async fn check(&self, ctx: &Context<'_>) -> async_graphql::Result<()> {
        principal(ctx).map(|_| ()).map_err(Into::into)
    }
}

impl Guard for MayOverall {
    async fn check(&self, ctx: &Context<'_>) -> async_graphql::Result<()> {
        let principal = principal(ctx)?;
        overall(principal, self.0).map_err(|denied| Fault::from(denied).into())
    }
}

/// Who asks.
///
/// # Errors
/// [`Denied::Anonymous`] when nobody did say.
pub(crate) fn principal<'a>(ctx: &Context<'a>) -> Result<&'a Principal, Fault> {
    ctx.data_opt::<Caller>()
        .and_then(|caller| caller.principal.as_ref())
        .ok_or(Fault::Denied(Denied::Anonymous))
}
