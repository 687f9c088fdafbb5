//! One typed function for each thing that is counted, timed or measured.
//!
//! Labels given as `&'static str` are literals at the call, so that no input can become a label.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use rules::health::{Check, Status, Verdict};
use rules::machine::{ActionName, Seen};
use rules::queue::{Kind, Outcome, Pool};
use sqlx::PgPool;

use super::catalog as c;

/// Jobs were accepted; call it once they are committed.
pub fn jobs_enqueued(pool: Pool, count: u64) {
    counter!(c::JOBS_ENQUEUED.name, "pool" => pool.as_str()).increment(count);
}

/// An attempt ended. `outcome` is [`Outcome::as_str`], or `done` of a handler that settled by itself.
pub fn job_attempt(kind: Kind, outcome: &'static str, ran: Duration) {
    counter!(c::JOB_ATTEMPTS.name, "kind" => kind.as_str(), "outcome" => outcome).increment(1);
    histogram!(c::JOB_RUN.name, "kind" => kind.as_str(), "outcome" => outcome).record(ran);
}

/// A job left the queue. Outcomes that keep it there are not counted.
pub fn job_finished(kind: Kind, outcome: &Outcome) {
    match outcome {
        Outcome::Done | Outcome::Dead { .. } | Outcome::Cancelled => {
            job_left(kind.as_str(), outcome.as_str())
        }
        Outcome::Retry { .. } | Outcome::Snooze { .. } | Outcome::Released => {}
    }
}

/// A job died: of a last error, or as poison. `kind` is the wire name that stands in the table.
pub fn job_died(kind: &str) {
    // A table may hold kinds of another version; they share one label, for labels are bounded.
    job_left(kind.parse::<Kind>().map_or("unknown", |k| k.as_str()), "dead");
}

fn job_left(kind: &'static str, outcome: &'static str) {
    counter!(c::JOBS_FINISHED.name, "kind" => kind, "outcome" => outcome).increment(1);
}

/// A job was claimed this long after it became ready.
pub fn job_queue_wait(kind: Kind, waited: Duration) {
    histogram!(c::JOB_QUEUE_WAIT.name, "kind" => kind.as_str()).record(waited);
}

/// How many slots of a pool this process uses and has.
pub fn worker_slots(pool: Pool, used: usize, total: usize) {
    gauge!(c::WORKER_SLOTS.name, "pool" => pool.as_str(), "state" => "used").set(used as f64);
    gauge!(c::WORKER_SLOTS.name, "pool" => pool.as_str(), "state" => "total").set(total as f64);
}

/// Ticks of schedules were fired so long after their time, in seconds, and so many were missed; call it once they are
/// committed.
pub fn schedules_fired(late_s: &[f64], missed: u64) {
    late_s.iter().for_each(|late| histogram!(c::SCHEDULE_LATENESS.name).record(*late));
    counter!(c::SCHEDULE_MISSED.name).increment(missed);
}

/// A firing tried to start a run.
pub fn schedule_start(started: bool) {
    counter!(c::SCHEDULE_STARTS.name, "outcome" => if started { "started" } else { "refused" }).increment(1);
}

/// Expired leases of other workers were taken back.
pub fn leases_expired(count: u64) {
    counter!(c::LEASE_EXPIRED.name).increment(count);
}

/// Leases whose claim was never answered were handed back.
pub fn leases_returned(count: u64) {
    counter!(c::LEASE_RETURNED.name).increment(count);
}

/// Rows that were outlived are gone.
pub fn pruned(what: &'static str, rows: u64) {
    counter!(c::PRUNED.name, "what" => what).increment(rows);
}

/// Handlers of this process were stopped, for their leases could not be renewed.
pub fn leases_lost(count: u64) {
    counter!(c::LEASE_LOST.name).increment(count);
}

/// Acknowledgements came after their lease was lost.
pub fn stale_acks(count: u64) {
    counter!(c::STALE_ACKS.name).increment(count);
}

/// A workflow run started.
pub fn run_started() {
    counter!(c::RUNS_STARTED.name).increment(1);
}

/// A workflow run ended: `completed`, `failed` or `cancelled`.
pub fn run_finished(outcome: &'static str) {
    counter!(c::RUNS_FINISHED.name, "outcome" => outcome).increment(1);
}

/// A script ran: `ok`, `error`, or the limit that stopped it.
pub fn script_ran(outcome: &'static str, ran: Duration) {
    histogram!(c::SCRIPT_RUN.name, "outcome" => outcome).record(ran);
}

/// A machine was checked.
pub fn health_checked(check: Check, verdict: Verdict) {
    counter!(c::HEALTH_CHECKS.name, "check" => check.as_str(), "verdict" => verdict.as_str()).increment(1);
}

/// An operation of a machine ended, done or failed for good; `took` is of the attempt that ended it.
pub fn machine_operated(operation: ActionName, done: bool, took: Duration) {
    let outcome = if done { "done" } else { "failed" };
    histogram!(c::MACHINE_OPERATION.name, "operation" => operation.as_str(), "outcome" => outcome)
        .record(took);
}

/// A webhook delivery came: `accepted`, `duplicate`, or why it was refused.
pub fn webhook_received(outcome: &'static str) {
    counter!(c::WEBHOOK_RECEIVED.name, "outcome" => outcome).increment(1);
}

/// What a webhook delivery began came to its end, `took` after it was accepted. `action` is the word of a configuration.
pub fn webhook_delivered(action: &'static str, took: Duration) {
    histogram!(c::WEBHOOK_DELIVERY.name, "action" => action).record(took);
}

/// An accepted delivery begins nothing: `transform` or `listener_deleted` says why.
pub fn notice_dropped(reason: &'static str) {
    counter!(c::NOTICES_DROPPED.name, "reason" => reason).increment(1);
}

/// Audit entries were put into the chains of their tenants.
pub fn audit_chained(entries: u64) {
    counter!(c::AUDIT_CHAINED.name).increment(entries);
}

/// An audit entry found no room in memory.
pub fn audit_dropped() {
    counter!(c::AUDIT_DROPPED.name).increment(1);
}

/// An HTTP request was answered. `route` is the pattern that matched, never the path as it came.
pub fn http_request(method: &'static str, route: &'static str, status: u16, took: Duration) {
    let class = match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    histogram!(c::HTTP_REQUEST.name, "method" => method, "route" => route, "status" => class).record(took);
}

/// A GraphQL operation was executed. `operation` is `query` or `mutation`, `field` its root field: one of the
/// schema's, never a name as it came.
pub fn graphql_operation(operation: &'static str, field: &'static str, ok: bool, took: Duration) {
    let outcome = if ok { "ok" } else { "error" };
    histogram!(c::GRAPHQL_OPERATION.name, "field" => field, "operation" => operation, "outcome" => outcome)
        .record(took);
}

/// A client was told of an error, by GraphQL or elsewhere.
pub fn error(code: &'static str, severity: &'static str) {
    counter!(c::ERRORS.name, "code" => code, "severity" => severity).increment(1);
}

/// Credentials were refused.
pub fn auth_failure(reason: &'static str) {
    counter!(c::AUTH_FAILURES.name, "reason" => reason).increment(1);
}

/// A live connection was ended by us.
pub fn live_parted(reason: &'static str) {
    counter!(c::LIVE_PARTED.name, "reason" => reason).increment(1);
}

/// A request came too soon after others.
pub fn rate_limited(limit: &'static str) {
    counter!(c::RATE_LIMITED.name, "limit" => limit).increment(1);
}

/// How much of its pools of connections this process uses, all of them together. Call it before [`super::render`].
pub fn db_pools<'a>(pools: impl Iterator<Item = &'a PgPool>) {
    let (mut in_use, mut idle, mut max) = (0.0, 0.0, 0.0);
    for db in pools {
        let (size, at_rest) = (f64::from(db.size()), db.num_idle() as f64);
        in_use += (size - at_rest).max(0.0);
        idle += at_rest;
        max += f64::from(db.options().get_max_connections());
    }
    gauge!(c::DB_POOL.name, "state" => "in_use").set(in_use);
    gauge!(c::DB_POOL.name, "state" => "idle").set(idle);
    gauge!(c::DB_POOL.name, "state" => "max").set(max);
}

/// Somebody waited this long for a connection.
pub fn db_pool_wait(waited: Duration) {
    histogram!(c::DB_POOL_WAIT.name).record(waited);
}

/// Whether this process leads the schedulers.
pub fn scheduler_leader(leads: bool) {
    gauge!(c::SCHEDULER_LEADER.name).set(if leads { 1.0 } else { 0.0 });
}

/// A duty was done, or failed.
pub fn duty(name: &'static str, ok: bool, took: Duration) {
    let outcome = if ok { "ok" } else { "error" };
    histogram!(c::DUTY.name, "duty" => name, "outcome" => outcome).record(took);
}

/// What stands in one queue, as the leader saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueFigures {
    /// The queue.
    pub queue: String,
    /// Ready, scheduled, blocked and leased jobs.
    pub depth: [i64; 4],
    /// How long the oldest ready job has waited, in seconds.
    pub oldest_ready_age_s: f64,
    /// Whether it is paused.
    pub paused: bool,
    /// Live workers that serve it.
    pub workers: i64,
    /// Dead letters.
    pub dead: i64,
}

/// Reports one queue. From the leader only.
pub fn queue(figures: &QueueFigures) {
    let queue = &figures.queue;
    for (state, count) in ["ready", "scheduled", "blocked", "leased"].into_iter().zip(figures.depth) {
        gauge!(c::QUEUE_DEPTH.name, "queue" => queue.clone(), "state" => state).set(count as f64);
    }
    gauge!(c::QUEUE_OLDEST_READY.name, "queue" => queue.clone()).set(figures.oldest_ready_age_s);
    gauge!(c::QUEUE_PAUSED.name, "queue" => queue.clone()).set(if figures.paused { 1.0 } else { 0.0 });
    gauge!(c::QUEUE_WORKERS.name, "queue" => queue.clone()).set(figures.workers as f64);
    gauge!(c::DLQ_DEPTH.name, "queue" => queue.clone()).set(figures.dead as f64);
}

/// Figures of the whole installation that belong to no queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClusterFigures {
    /// Ready jobs of a kind that no live worker knows.
    pub unknown_kinds: i64,
    /// Age of the oldest dead letter in seconds.
    pub dlq_oldest_age_s: f64,
    /// Days for which the history already has a partition.
    pub history_days_ahead: i64,
    /// Age of the oldest audit entry that is not in its chain, in seconds; 0 without one.
    pub audit_lag_s: f64,
    /// For how long the most overdue tick of a schedule has waited, in seconds; 0 without one.
    pub schedule_overdue_s: f64,
    /// Transactions since the oldest that is not frozen.
    pub xid_age: i64,
    /// Age of the oldest open transaction in seconds.
    pub session_age_s: f64,
    /// Age of the oldest prepared transaction in seconds.
    pub prepared_age_s: f64,
    /// Age of the oldest transaction that a replication slot holds, in seconds.
    pub slot_age_s: f64,
    /// Age of the oldest transaction that a standby holds, in seconds.
    pub standby_age_s: f64,
    /// How full the queue of notifications is, 0 to 1.
    pub notify_usage: f64,
}

/// Reports the installation. From the leader only.
pub fn cluster(figures: &ClusterFigures) {
    gauge!(c::UNKNOWN_KINDS.name).set(figures.unknown_kinds as f64);
    gauge!(c::DLQ_OLDEST.name).set(figures.dlq_oldest_age_s);
    gauge!(c::HISTORY_AHEAD.name).set(figures.history_days_ahead as f64);
    gauge!(c::AUDIT_LAG.name).set(figures.audit_lag_s);
    gauge!(c::SCHEDULE_OVERDUE.name).set(figures.schedule_overdue_s);
    gauge!(c::PG_XID_AGE.name).set(figures.xid_age as f64);
    gauge!(c::PG_XMIN_AGE.name, "blocker" => "session").set(figures.session_age_s);
    gauge!(c::PG_XMIN_AGE.name, "blocker" => "prepared").set(figures.prepared_age_s);
    gauge!(c::PG_XMIN_AGE.name, "blocker" => "slot").set(figures.slot_age_s);
    gauge!(c::PG_XMIN_AGE.name, "blocker" => "standby").set(figures.standby_age_s);
    gauge!(c::PG_NOTIFY_USAGE.name).set(figures.notify_usage);
}

/// Reports how many machines have each status. From the leader only.
pub fn machines(counts: &[(Status, i64)]) {
    for status in Status::ALL {
        let count = counts.iter().find(|(of, _)| *of == status).map_or(0, |(_, count)| *count);
        gauge!(c::MACHINES_BY_HEALTH.name, "health" => status.as_str()).set(count as f64);
    }
}

/// Reports how many machines were last seen in each state. From the leader only.
pub fn machines_seen(counts: &[(Seen, i64)]) {
    for state in Seen::ALL {
        let count = counts.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
        gauge!(c::MACHINES_BY_STATE.name, "state" => state.as_str()).set(count as f64);
    }
}

/// Reports how long ago the longest silent worker of a pool gave a sign of life. From the leader only.
pub fn worker_heartbeat(pool: &str, age_s: f64) {
    gauge!(c::WORKER_HEARTBEAT.name, "pool" => pool.to_owned()).set(age_s);
}

/// Reports what one of our tables takes on disk. From the leader only.
pub fn table_bytes(name: &str, bytes: i64) {
    gauge!(c::PG_TABLE_BYTES.name, "table" => name.to_owned()).set(bytes as f64);
}

/// Reports one of our tables, with the seconds since its last vacuum. From the leader only.
pub fn table(name: &str, live: i64, dead: i64, vacuum_age_s: f64) {
    gauge!(c::PG_LIVE_TUPLES.name, "table" => name.to_owned()).set(live as f64);
    gauge!(c::PG_DEAD_TUPLES.name, "table" => name.to_owned()).set(dead as f64);
    gauge!(c::PG_VACUUM_AGE.name, "table" => name.to_owned()).set(vacuum_age_s);
}
