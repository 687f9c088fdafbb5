//! One operation asked of many machines at once, of each for itself.

use std::collections::{BTreeMap, HashMap};

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use jobs::machine::bulk::{MAX_MACHINES, RequestEach, request_each};
use rules::access::InTenant;
use rules::id::MachineId;
use rules::machine::Action;

use super::operation::MachineOperation;
use super::scope::{app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::{Fault, Told};

/// What can be asked of many machines at once.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PowerOperation {
    /// As `powerOn`.
    PowerOn,
    /// As `powerOff`.
    PowerOff,
    /// As `forcePowerOff`.
    ForcePowerOff,
    /// As `restartMachine`.
    Restart,
    /// As `resetMachine`.
    Reset,
    /// As `suspend`.
    Suspend,
    /// As `resume`.
    Resume,
}

impl From<PowerOperation> for Action {
    fn from(operation: PowerOperation) -> Self {
        match operation {
            PowerOperation::PowerOn => Self::Start,
            PowerOperation::PowerOff => Self::Stop,
            PowerOperation::ForcePowerOff => Self::ForceOff,
            PowerOperation::Restart => Self::Restart,
            PowerOperation::Reset => Self::Reset,
            PowerOperation::Suspend => Self::Suspend,
            PowerOperation::Resume => Self::Resume,
        }
    }
}

/// What came of asking one machine.
#[derive(SimpleObject)]
pub(crate) struct Powered {
    /// Its id, as it was given.
    id: ID,
    /// What was asked of it; none where it could not be.
    operation: Option<MachineOperation>,
    /// Why not, as in the `extensions.code` of an error: BAD_USER_INPUT, NOT_FOUND or CONFLICT.
    code: Option<&'static str>,
    /// The same in words.
    message: Option<String>,
    /// The id of that error, as in the `extensions.errorId` of an error.
    error_id: Option<String>,
}

impl Powered {
    fn of(id: ID, came: Result<MachineOperation, Told>) -> Self {
        match came {
            Ok(operation) => {
                Self { id, operation: Some(operation), code: None, message: None, error_id: None }
            }
            Err(told) => Self {
                id,
                operation: None,
                code: Some(told.code),
                message: Some(told.message),
                error_id: Some(told.id),
            },
        }
    }
}

/// What can be asked of many machines.
#[derive(Default)]
pub(crate) struct PowerMutation;

#[Object]
impl PowerMutation {
    /// Asks the same of machines, each for itself: one of which it cannot be asked holds up none of the others, and of
    /// each is told what came of it, in the order of the ids. All that is asked is asked in one transaction.
    #[graphql(guard = "SignedIn")]
    async fn power_machines(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        #[graphql(desc = "Between 1 and 100, each once.")] ids: Vec<ID>,
        operation: PowerOperation,
    ) -> Result<Vec<Powered>, Fault> {
        if !(1..=MAX_MACHINES).contains(&ids.len()) {
            let told = format!("`ids` has {} entries; it must have between 1 and {MAX_MACHINES}", ids.len());
            return Err(Fault::BadInput(told));
        }
        let read: Vec<Result<MachineId, Fault>> = ids.iter().map(|id| parse(id, "ids")).collect();
        let machines: Vec<MachineId> = read.iter().filter_map(|read| read.as_ref().ok().copied()).collect();
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let by = scope.by.to_string();
        let mut came = HashMap::new();
        let mut requested = None;
        if !machines.is_empty() {
            let wish = RequestEach {
                tenant: scope.tenant,
                machines: &machines,
                action: operation.into(),
                by: &by,
                trace_parent: trace_parent(ctx),
            };
            let mut each = request_each(&mut tx, &wish).await?;
            came.extend(machines.iter().copied().zip(std::mem::take(&mut each.outcomes)));
            requested = Some(each);
        }
        let mut all = Vec::with_capacity(ids.len());
        let mut refused: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut done = Vec::new();
        for (id, read) in ids.into_iter().zip(read) {
            let absent = || Err(jobs::Error::internal("a machine was asked and nothing came of it"));
            let outcome = read.and_then(|machine| Ok(came.remove(&machine).unwrap_or_else(absent)?));
            let outcome = outcome.map(MachineOperation::from).map_err(|fault| fault.told());
            match &outcome {
                Ok(_) => done.push(id.to_string()),
                Err(told) => refused.entry(told.code).or_default().push(id.to_string()),
            }
            all.push(Powered::of(id, outcome));
        }
        if !done.is_empty() {
            tx.some_of("ids", done);
            tx.commit().await?;
            if let Some(requested) = requested {
                requested.tell(app(ctx).wake());
            }
        }
        for (code, ids) in refused {
            audit::refuse_some(ctx, "ids", &ids, code);
        }
        Ok(all)
    }
}
