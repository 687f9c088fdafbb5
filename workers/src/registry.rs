//! Which handler takes which kind: a match without a wildcard, so that none can be forgotten.

use jobs::queue::Attempt;
use rules::queue::Kind;

use crate::context::Context;
use crate::handle::{Handled, host, listener, machine, noop, run};

/// Calls the handler of the attempt's kind. Each call stands on the heap: a future is as large as the largest
/// of its branches, and moving what a workflow step may need around took a third of the time of a small job.
pub(crate) async fn call(context: &Context, attempt: &Attempt) -> jobs::Result<Handled> {
    match attempt.kind {
        Kind::Noop => Box::pin(noop::handle(context, attempt)).await,
        Kind::RunNode => Box::pin(run::node(context, attempt)).await,
        Kind::RunAdvance => Box::pin(run::advance(context, attempt)).await,
        Kind::RunWake => Box::pin(run::wake(context, attempt)).await,
        Kind::ListenerEvent => Box::pin(listener::event(context, attempt)).await,
        Kind::ListenerAction => Box::pin(listener::action(context, attempt)).await,
        Kind::MachineOperate => Box::pin(machine::operate(context, attempt)).await,
        Kind::HostReconcile => Box::pin(host::reconcile(context, attempt)).await,
        Kind::AuditFlush | Kind::HealthCheck => {
            Err(jobs::Error::invalid(format!("`{}` jobs have no handler in this version", attempt.kind)))
        }
    }
}
