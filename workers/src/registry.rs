//! Which handler takes which kind: a match without a wildcard, so that none can be forgotten.

use futures::future::BoxFuture;
use jobs::queue::Attempt;
use jobs::{Error, Result};
use rules::queue::Kind;

use crate::context::Context;
use crate::handle::{Handled, audit, health, host, listener, machine, noop, run, schedule, sweep};

/// A handler's call, on the heap: a future is as large as the largest of its branches, and moving what a
/// workflow step may need around took a third of the time of a small job.
type Call<'a> = BoxFuture<'a, Result<Handled>>;

/// A handler.
type Handler = for<'a> fn(&'a Context, &'a Attempt) -> Call<'a>;

/// The kinds that have a handler in this executable: they alone are claimed, and told to those who look why
/// a job waits. While a deployment is brought up to a later version, jobs of its kinds wait for its workers.
pub fn handled() -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| handler(*kind).is_some()).collect()
}

/// Calls the handler of the attempt's kind.
pub(crate) async fn call(context: &Context, attempt: &Attempt) -> Result<Handled> {
    match handler(attempt.kind) {
        Some(handler) => handler(context, attempt).await,
        None => Err(Error::internal(format!("a `{}` job was claimed without a handler", attempt.kind))),
    }
}

/// The handler of a kind; none when it is only known by name here.
fn handler(kind: Kind) -> Option<Handler> {
    let handler: Handler = match kind {
        Kind::Noop => |context, attempt| Box::pin(noop::handle(context, attempt)),
        Kind::RunNode => |context, attempt| Box::pin(run::node(context, attempt)),
        Kind::RunAdvance => |context, attempt| Box::pin(run::advance(context, attempt)),
        Kind::RunWake => |context, attempt| Box::pin(run::wake(context, attempt)),
        Kind::ListenerEvent => |context, attempt| Box::pin(listener::event(context, attempt)),
        Kind::ListenerAction => |context, attempt| Box::pin(listener::action(context, attempt)),
        Kind::ScheduleFire => |context, attempt| Box::pin(schedule::fire(context, attempt)),
        Kind::MachineOperate => |context, attempt| Box::pin(machine::operate(context, attempt)),
        Kind::HostReconcile => |context, attempt| Box::pin(host::reconcile(context, attempt)),
        Kind::HealthCheck => |context, attempt| Box::pin(health::check(context, attempt)),
        Kind::LetterSweep => |context, attempt| Box::pin(sweep::sweep(context, attempt)),
        Kind::AuditFlush => |context, attempt| Box::pin(audit::flush_all(context, attempt)),
    };
    Some(handler)
}
