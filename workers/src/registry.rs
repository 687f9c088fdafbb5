//! Which handler takes which kind: a match without a wildcard, so that none can be forgotten.

use jobs::queue::Attempt;
use rules::queue::Kind;

use crate::context::Context;
use crate::handle::{Handled, host, listener, machine, noop, run};

/// Calls the handler of the attempt's kind.
pub(crate) async fn call(context: &Context, attempt: &Attempt) -> jobs::Result<Handled> {
    match attempt.kind {
        Kind::Noop => noop::handle(context, attempt).await,
        Kind::RunNode => run::node(context, attempt).await,
        Kind::RunAdvance => run::advance(context, attempt).await,
        Kind::RunWake => run::wake(context, attempt).await,
        Kind::ListenerEvent => listener::event(context, attempt).await,
        Kind::ListenerAction => listener::action(context, attempt).await,
        Kind::MachineOperate => machine::operate(context, attempt).await,
        Kind::HostReconcile => host::reconcile(context, attempt).await,
        Kind::AuditFlush | Kind::HealthCheck => {
            Err(jobs::Error::invalid(format!("`{}` jobs have no handler in this version", attempt.kind)))
        }
    }
}
