//! Stands before every operation: what is not in the list of who may do what is closed.

use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::{PathSegment, ServerError, ServerResult, Value};
use rules::access::{Denied, Permission, Permissions, Principal, overall};

use super::Caller;
use super::operation::{Needs, needs};
use crate::audit::{Ledger, Telling};
use crate::error::Fault;
use crate::state::App;

/// The name of the type of all that can be changed.
const MUTATION: &str = "Mutation";

/// The name of the type of all that can be listened to.
const SUBSCRIPTION: &str = "Subscription";

/// The gate, as an extension of the executor: no field at the root is resolved without it.
pub(crate) struct Gate;

struct Keeper;

impl ExtensionFactory for Gate {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Keeper)
    }
}

#[async_trait]
impl Extension for Keeper {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        // What lies below the root comes of an operation that was let in; introspection has a switch of its own.
        if info.path_node.parent.is_none() && !info.name.starts_with("__") {
            return self.root(ctx, info, next).await;
        }
        next.run(ctx, info).await
    }
}

impl Keeper {
    /// Lets an operation in, or not, and has the audit told of it.
    async fn root(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let caller = ctx.data_opt::<Caller>();
        if info.parent_type == SUBSCRIPTION {
            // Each event passes here. Whether it may be heard was decided when its stream was made, and what was
            // refused then was told.
            return match admit(info.name, caller.and_then(|caller| caller.principal.as_ref())) {
                Ok(()) => next.run(ctx, info).await,
                Err(denied) => Err(refusal(denied, info.field, info.alias.unwrap_or(info.name).to_owned())),
            };
        }
        let telling = match (ctx.data_opt::<App>(), ctx.data_opt::<Ledger>(), caller) {
            (Some(app), Some(ledger), Some(caller)) => {
                Some(Telling::of(app, ledger, caller, info.field, info.parent_type == MUTATION))
            }
            _ => None,
        };
        let principal = caller.and_then(|caller| caller.principal.as_ref());
        let resolved = match admit(info.name, principal) {
            Ok(()) => next.run(ctx, info).await,
            Err(denied) => {
                let name = info.alias.unwrap_or(info.name).to_owned();
                Err(refusal(denied, info.field, name))
            }
        };
        if let Some(telling) = telling {
            telling.end(resolved.as_ref().err());
        }
        resolved
    }
}

fn refusal(denied: Denied, field: &async_graphql::parser::types::Field, name: String) -> ServerError {
    let error: async_graphql::Error = Fault::from(denied).into();
    let mut error = error.into_server_error(field.name.pos);
    error.path = vec![PathSegment::Field(name)];
    error
}

/// Decides as far as it can be decided before a tenant is looked up: all of it for the installation and for
/// keys, which know what they hold.
///
/// # Errors
/// [`Denied`] with the reason.
pub(crate) fn admit(operation: &str, principal: Option<&Principal>) -> Result<(), Denied> {
    let needed = match needs(operation).ok_or(Denied::Unlisted)? {
        Needs::Nothing => return Ok(()),
        needed => needed,
    };
    let principal = principal.ok_or(Denied::Anonymous)?;
    match (needed, principal) {
        (Needs::Nothing | Needs::Credentials, _) => Ok(()),
        (Needs::Overall(wish), _) => overall(principal, wish),
        (Needs::Tenant(needed) | Needs::TenantOrOperator(needed), Principal::Key { may, .. }) => {
            holds(*may, &[needed])
        }
        (Needs::TenantToStart(needed), Principal::Key { may, .. }) => {
            holds(*may, &[needed, Permission::WorkflowExecute])
        }
        // Decided in `scope::enter`, where the tenant is known.
        (Needs::Tenant(_) | Needs::TenantToStart(_) | Needs::TenantOrOperator(_), Principal::User { .. }) => {
            Ok(())
        }
    }
}

fn holds(may: Permissions, all: &[Permission]) -> Result<(), Denied> {
    let lacked = all.iter().find(|needed| !may.has(**needed));
    lacked.map_or(Ok(()), |lacked| Err(Denied::NeedsPermission(*lacked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_closed_to_all() {
        use rules::access::Role;
        let root = Principal::User { id: rules::id::UserId(uuid::Uuid::nil()), role: Role::SuperAdmin };
        assert_eq!(admit("dropEverything", Some(&root)), Err(Denied::Unlisted));
        assert_eq!(admit("me", None), Err(Denied::Anonymous));
        assert_eq!(admit("login", None), Ok(()));
    }
}
