//! `millrace machine start` and the like: asks something of a machine, by the same door as the API's mutations.

use std::time::Duration;

use jobs::db::PgPool;
use jobs::machine::operation::{self, Operation};
use jobs::machine::{Request, request, store};
use jobs::queue::Wake;
use rules::id::{OperationId, TenantId};
use rules::machine::{Action, OperationState};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::fleet::Asked;
use crate::table::print_said;

/// How often an operation is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Asks for it, notes who did, and waits for the end where that is wanted.
///
/// # Errors
/// What [`request`] refuses; Conflict when what is waited for fails or another takes its place.
pub(crate) async fn ask(db: &PgPool, action: Action, asked: &Asked) -> anyhow::Result<()> {
    let (id, name, by) = (asked.id, action.name().as_str().to_lowercase(), audit::operator());
    let wake = Wake::start(db, &CancellationToken::new());
    let mut tx = jobs::db::begin(db).await?;
    let tenant = TenantId(store::get(&mut tx, None, id).await?.tenant_id);
    let wish = Request { tenant, machine: id, action, by: &by, reason: None, trace_parent: None };
    let requested = request(&mut tx, &wish).await?;
    audit::note(&mut tx, Some(tenant), &format!("cli.machine.{name}"), &json!({ "id": id })).await?;
    tx.commit().await?;
    requested.tell(&wake);
    wake.flush().await;

    let operation = match asked.wait {
        true => ended(db, requested.operation).await?,
        false => operation::store::get(&mut *db.acquire().await?, None, requested.operation).await?,
    };
    let said = match &operation.superseded_by {
        Some(other) => format!("operation {} of machine {id}: operation {other} does it", operation.id),
        None => format!(
            "operation {} of machine {id}: {name} is {}; `millrace machine show {id}` tells how it goes",
            operation.id,
            operation.state.to_lowercase()
        ),
    };
    print_said(asked.output, &operation, &said)?;
    match operation.error {
        Some(error) if asked.wait => {
            Err(jobs::Error::conflict(format!("{name} of machine {id} failed: {error}")).into())
        }
        _ => Ok(()),
    }
}

/// Waits for the end of an operation, or of the one that was asked for before and is the same.
///
/// # Errors
/// Conflict when another took its place.
async fn ended(db: &PgPool, mut id: OperationId) -> jobs::Result<Operation> {
    loop {
        let operation = operation::store::get(&mut *db.acquire().await?, None, id).await?;
        let has_ended = OperationState::from_name(&operation.state).is_none_or(OperationState::has_ended);
        let Some(other) = operation.superseded_by else {
            if has_ended {
                return Ok(operation);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let other = operation::store::get(&mut *db.acquire().await?, None, OperationId(other)).await?;
        if other.action != operation.action {
            return Err(jobs::Error::conflict(format!(
                "operation {} was not done: {} `{}` took its place; `millrace machine show {}` tells what was asked",
                operation.id,
                other.action.to_lowercase(),
                other.id,
                operation.machine_id
            )));
        }
        id = OperationId(other.id);
    }
}
