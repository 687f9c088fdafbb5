//! Operations: what was asked of a machine, and what became of it.

pub mod store;

use rules::id::{MachineId, OperationId, TenantId};
use rules::machine::Action;

pub use store::{Operation, Waiting};

/// An operation that is entered.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewOperation<'a> {
    pub(super) id: OperationId,
    pub(super) tenant: TenantId,
    pub(super) machine: MachineId,
    pub(super) action: Action,
    pub(super) by: &'a str,
    pub(super) reason: Option<&'a str>,
}
