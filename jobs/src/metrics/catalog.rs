//! Every metric once: its name, labels, buckets and meaning.

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, with prefix and unit.
    pub name: &'static str,
    /// What kind of figure it is.
    pub shape: Shape,
    /// Its labels, sorted.
    pub labels: &'static [&'static str],
    /// What it means, for people.
    pub help: &'static str,
}

/// What kind of figure a metric is.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values were at most each bound. Histograms of several processes can be added up, which
    /// the summaries that the exporter makes without bounds cannot.
    Histogram(&'static [f64]),
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, shape: Shape::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, shape: Shape::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    bounds: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { name, shape: Shape::Histogram(bounds), labels, help }
}

/// Bounds for what may wait from milliseconds to an hour, in seconds.
const WAIT_S: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0,
];
/// Bounds for handlers, in seconds.
const RUN_S: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
/// Bounds for answers to people and programs, in seconds.
const ANSWER_S: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds for scripts, which are stopped at a tenth of a second, in seconds.
const SCRIPT_S: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25];

// What each process counts of its own doing.
pub(super) const JOBS_ENQUEUED: Metric = counter(
    "millrace_jobs_enqueued_total",
    &["pool"],
    "Jobs accepted into the queue, by the pool that will run them.",
);
pub(super) const JOBS_FINISHED: Metric = counter(
    "millrace_jobs_finished_total",
    &["kind", "outcome"],
    "Jobs that left the queue: done, dead or cancelled.",
);
pub(super) const JOB_ATTEMPTS: Metric =
    counter("millrace_job_attempts_total", &["kind", "outcome"], "Attempts by what they came to.");
pub(super) const JOB_QUEUE_WAIT: Metric =
    histogram("millrace_job_queue_wait_seconds", &["kind"], WAIT_S, "From ready to claimed.");
pub(super) const JOB_RUN: Metric =
    histogram("millrace_job_run_seconds", &["kind", "outcome"], RUN_S, "How long handlers ran.");
pub(super) const WORKER_SLOTS: Metric =
    gauge("millrace_worker_slots", &["pool", "state"], "Slots of this process: used, and total.");
pub(super) const LEASE_EXPIRED: Metric = counter(
    "millrace_lease_expired_total",
    &[],
    "Leases that ran out and were taken back: their worker died or lost touch.",
);
pub(super) const LEASE_LOST: Metric = counter(
    "millrace_lease_lost_total",
    &[],
    "Handlers stopped because this process could not renew their lease.",
);
pub(super) const LEASE_RETURNED: Metric = counter(
    "millrace_lease_returned_total",
    &[],
    "Leases handed back because the answer to their claim was lost on its way to this process.",
);
pub(super) const STALE_ACKS: Metric = counter(
    "millrace_stale_acks_total",
    &[],
    "Acknowledgements refused because the lease had gone to another.",
);
pub(super) const RUNS_STARTED: Metric = counter("millrace_runs_started_total", &[], "Workflow runs started.");
pub(super) const RUNS_FINISHED: Metric =
    counter("millrace_runs_finished_total", &["outcome"], "Workflow runs that ended.");
pub(super) const SCRIPT_RUN: Metric =
    histogram("millrace_script_run_seconds", &["outcome"], SCRIPT_S, "How long scripts ran.");
pub(super) const HEALTH_CHECKS: Metric =
    counter("millrace_health_checks_total", &["check", "verdict"], "Checks of machines by what they found.");
pub(super) const MACHINE_OPERATION: Metric = histogram(
    "millrace_machine_operation_seconds",
    &["operation", "outcome"],
    RUN_S,
    "How long the attempts took that ended operations of machines: done, or failed for good.",
);
pub(super) const SCHEDULE_LATENESS: Metric = histogram(
    "millrace_schedule_lateness_seconds",
    &[],
    WAIT_S,
    "How long after their time ticks of schedules were fired; those that are made up for among them.",
);
pub(super) const SCHEDULE_MISSED: Metric = counter(
    "millrace_schedule_ticks_missed_total",
    &[],
    "Ticks of schedules that were missed and are not made up for.",
);
pub(super) const SCHEDULE_STARTS: Metric = counter(
    "millrace_schedule_starts_total",
    &["outcome"],
    "Attempts of firings to start a run: started, or refused by the schedule, its workflow or somebody's rights.",
);
pub(super) const WEBHOOK_RECEIVED: Metric =
    counter("millrace_webhook_received_total", &["outcome"], "Webhook deliveries by what became of them.");
pub(super) const WEBHOOK_DELIVERY: Metric = histogram(
    "millrace_webhook_delivery_seconds",
    &["action"],
    WAIT_S,
    "From a webhook delivery's acceptance to the end of each action that it began; replays are left out.",
);
pub(super) const NOTICES_DROPPED: Metric = counter(
    "millrace_notices_dropped_total",
    &["reason"],
    "Accepted deliveries that begin nothing: their transform gave null, or their listener was deleted.",
);
pub(super) const AUDIT_CHAINED: Metric =
    counter("millrace_audit_chained_total", &[], "Audit entries put into the chains of their tenants.");
pub(super) const AUDIT_DROPPED: Metric = counter(
    "millrace_audit_dropped_total",
    &[],
    "Audit entries of refused operations that found no room in memory while the database was away.",
);
pub(super) const HTTP_REQUEST: Metric = histogram(
    "millrace_http_request_duration_seconds",
    &["method", "route", "status"],
    ANSWER_S,
    "HTTP requests by route and class of status.",
);
pub(super) const GRAPHQL_OPERATION: Metric = histogram(
    "millrace_graphql_operation_seconds",
    &["field", "operation", "outcome"],
    ANSWER_S,
    "GraphQL operations: query or mutation, by their root field or `other`, ok or error.",
);
pub(super) const ERRORS: Metric = counter(
    "millrace_errors_total",
    &["code", "severity"],
    "Errors that clients were told, by code and severity: Critical, High, Medium, Low.",
);
pub(super) const AUTH_FAILURES: Metric =
    counter("millrace_auth_failures_total", &["reason"], "Refused credentials by reason.");
pub(super) const RATE_LIMITED: Metric =
    counter("millrace_rate_limited_total", &["limit"], "Requests refused by a limit on their rate.");
pub(super) const LIVE_PARTED: Metric = counter(
    "millrace_live_parted_total",
    &["reason"],
    "Live connections that the API ended, by reason: slow, expired, access_changed, restarting.",
);
pub(super) const DB_POOL: Metric = gauge(
    "millrace_db_pool_connections",
    &["state"],
    "Database connections in the pools of this process: in_use, idle, and max.",
);
pub(super) const DB_POOL_WAIT: Metric = histogram(
    "millrace_db_pool_wait_seconds",
    &[],
    ANSWER_S,
    "How long callers waited for a database connection of this process' pool.",
);
pub(super) const SCHEDULER_LEADER: Metric =
    gauge("millrace_scheduler_leader", &[], "1 where the leader of the schedulers runs, else 0.");
pub(super) const DUTY: Metric =
    histogram("millrace_scheduler_duty_seconds", &["duty", "outcome"], ANSWER_S, "The scheduler's duties.");
pub(super) const PRUNED: Metric = counter(
    "millrace_pruned_total",
    &["what"],
    "Rows taken away because they were outlived: dead letters, notices, runs and others.",
);
pub(super) const BUILD_INFO: Metric =
    gauge("millrace_build_info", &["version"], "Always 1; the version is the label.");

// What the leader of the schedulers alone reports of the whole installation, else sums would double.
pub(super) const QUEUE_DEPTH: Metric = gauge(
    "millrace_queue_depth",
    &["queue", "state"],
    "Live jobs: ready, scheduled, blocked behind their key, leased.",
);
pub(super) const QUEUE_OLDEST_READY: Metric = gauge(
    "millrace_queue_oldest_ready_age_seconds",
    &["queue"],
    "How long the oldest ready job has waited; 0 without one.",
);
pub(super) const QUEUE_PAUSED: Metric =
    gauge("millrace_queue_paused", &["queue"], "1 while the queue is paused.");
pub(super) const QUEUE_WORKERS: Metric =
    gauge("millrace_workers_alive", &["queue"], "Worker processes seen lately that serve the queue.");
pub(super) const WORKER_HEARTBEAT: Metric = gauge(
    "millrace_worker_heartbeat_age_seconds",
    &["pool"],
    "Age of the oldest sign of life among the workers entered for the pool; 0 without one. One that died stays entered for ten minutes.",
);
pub(super) const UNKNOWN_KINDS: Metric =
    gauge("millrace_jobs_of_unknown_kind", &[], "Ready jobs of a kind that no live worker knows.");
pub(super) const DLQ_DEPTH: Metric = gauge("millrace_dlq_depth", &["queue"], "Dead letters.");
pub(super) const DLQ_OLDEST: Metric =
    gauge("millrace_dlq_oldest_age_seconds", &[], "Age of the oldest dead letter; 0 without one.");
pub(super) const HISTORY_AHEAD: Metric = gauge(
    "millrace_history_partitions_ahead",
    &[],
    "Days after today for which finished jobs already have a partition.",
);
pub(super) const AUDIT_LAG: Metric = gauge(
    "millrace_audit_lag_seconds",
    &[],
    "Age of the oldest audit entry that is not in its chain yet; 0 without one.",
);
pub(super) const SCHEDULE_OVERDUE: Metric = gauge(
    "millrace_schedule_overdue_seconds",
    &[],
    "For how long the most overdue tick of a schedule has waited to be fired; 0 without one.",
);
pub(super) const MACHINES_BY_HEALTH: Metric = gauge(
    "millrace_machines",
    &["health"],
    "Machines by their health as a whole: HEALTHY, WARNING, CRITICAL, UNKNOWN, PARKED.",
);
pub(super) const MACHINES_BY_STATE: Metric =
    gauge("millrace_machines_seen", &["state"], "Machines by the state in which their hosts saw them last.");
pub(super) const PG_DEAD_TUPLES: Metric = gauge(
    "millrace_pg_table_dead_tuples",
    &["table"],
    "Dead row versions in the queue's tables, by Postgres' estimate.",
);
pub(super) const PG_LIVE_TUPLES: Metric = gauge(
    "millrace_pg_table_live_tuples",
    &["table"],
    "Live rows in the queue's tables, by Postgres' estimate.",
);
pub(super) const PG_VACUUM_AGE: Metric = gauge(
    "millrace_pg_table_vacuum_age_seconds",
    &["table"],
    "Since the last vacuum of each of the queue's tables; since the server's start where none is known.",
);
pub(super) const PG_XID_AGE: Metric = gauge(
    "millrace_pg_xid_age_transactions",
    &[],
    "Transactions since the oldest one that no vacuum has frozen, in any database of the server. Postgres stops writing before 2 billion.",
);
pub(super) const PG_TABLE_BYTES: Metric = gauge(
    "millrace_pg_table_bytes",
    &["table"],
    "Bytes on disk of the queue's tables, and of the history of all days, with their indexes.",
);
pub(super) const PG_XMIN_AGE: Metric = gauge(
    "millrace_pg_xmin_horizon_age_seconds",
    &["blocker"],
    "For how long dead rows have been kept, by what keeps them: a session, a prepared transaction, a replication slot or a standby. For slots and standbys as far back as the leader has looked.",
);
pub(super) const PG_NOTIFY_USAGE: Metric = gauge(
    "millrace_pg_notify_queue_usage_ratio",
    &[],
    "How full Postgres' queue of notifications is, 0 to 1.",
);

/// All of them.
pub const CATALOG: &[Metric] = &[
    JOBS_ENQUEUED,
    JOBS_FINISHED,
    JOB_ATTEMPTS,
    JOB_QUEUE_WAIT,
    JOB_RUN,
    WORKER_SLOTS,
    LEASE_EXPIRED,
    LEASE_LOST,
    LEASE_RETURNED,
    STALE_ACKS,
    RUNS_STARTED,
    RUNS_FINISHED,
    SCRIPT_RUN,
    HEALTH_CHECKS,
    MACHINE_OPERATION,
    SCHEDULE_LATENESS,
    SCHEDULE_MISSED,
    SCHEDULE_STARTS,
    WEBHOOK_RECEIVED,
    WEBHOOK_DELIVERY,
    NOTICES_DROPPED,
    AUDIT_CHAINED,
    AUDIT_DROPPED,
    HTTP_REQUEST,
    GRAPHQL_OPERATION,
    ERRORS,
    AUTH_FAILURES,
    RATE_LIMITED,
    LIVE_PARTED,
    DB_POOL,
    DB_POOL_WAIT,
    SCHEDULER_LEADER,
    DUTY,
    PRUNED,
    BUILD_INFO,
    QUEUE_DEPTH,
    QUEUE_OLDEST_READY,
    QUEUE_PAUSED,
    QUEUE_WORKERS,
    WORKER_HEARTBEAT,
    UNKNOWN_KINDS,
    DLQ_DEPTH,
    DLQ_OLDEST,
    HISTORY_AHEAD,
    AUDIT_LAG,
    SCHEDULE_OVERDUE,
    MACHINES_BY_HEALTH,
    MACHINES_BY_STATE,
    PG_DEAD_TUPLES,
    PG_LIVE_TUPLES,
    PG_TABLE_BYTES,
    PG_VACUUM_AGE,
    PG_XID_AGE,
    PG_XMIN_AGE,
    PG_NOTIFY_USAGE,
];
