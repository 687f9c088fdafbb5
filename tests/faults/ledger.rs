//! The ledger of effects: what each process did to which job, written by Postgres itself in the transaction that
//! did it, and the accounts that are closed from it.
//!
//! Millrace's own checks are no witness for themselves. Triggers note who was given which attempt, who ended it
//! and what was done; a process is known by a setting of its connections. What a handler does outside of the
//! database no rollback takes back: that is counted from the lines in which workers say that an attempt began.

use std::collections::HashMap;

use sqlx::PgConnection;

/// How long a job may wait and run before it counts as late, in seconds.
pub(crate) const LATE_S: f64 = 1.0;

/// The setting by which a process is known.
const SETTING: &str = "faults.by";

const INSTALL: &str = "
create schema ledger;
create table ledger.issued (token uuid not null, job_id bigint not null, by text not null);
create index on ledger.issued (token);
create table ledger.ended (token uuid not null, job_id bigint not null, by text not null, expired boolean not null);
create table ledger.effect (
    number bigint not null, job_id bigint not null, by text not null, took_s float8 not null,
    at timestamptz not null default clock_timestamp());
create index on ledger.effect (number);
create function ledger.by() returns text language sql stable as $$ select coalesce(current_setting('faults.by', true), '') $$;
create function ledger.issue() returns trigger language plpgsql security definer as $$
begin
    insert into ledger.issued values (new.token, new.job_id, ledger.by());
    return null;
end $$;
create function ledger.end() returns trigger language plpgsql security definer as $$
begin
    insert into ledger.ended values (old.token, old.job_id, ledger.by(), old.lease_until <= clock_timestamp());
    return null;
end $$;
create function ledger.effect() returns trigger language plpgsql security definer as $$
begin
    insert into ledger.effect (number, job_id, by, took_s) values ((new.payload ->> 'note')::bigint, new.job_id, ledger.by(),
        extract(epoch from clock_timestamp() - new.created_at));
    return null;
end $$;
create trigger ledger_issue after insert or update of token on job_lease for each row execute function ledger.issue();
create trigger ledger_end after delete on job_lease for each row execute function ledger.end();
create trigger ledger_effect after insert on job_history for each row when (new.outcome = 0) execute function ledger.effect();
grant usage on schema ledger to public;
grant select on ledger.effect to public;
";

/// How the accounts of a fault stand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Books {
    /// Accepted, and without effect.
    pub(crate) lost: i64,
    /// Jobs whose handler began more than once.
    pub(crate) run_twice: i64,
    /// Attempts ended by a process that did not have them while another did, and effects beyond the first.
    pub(crate) stale: i64,
    /// Done later than [`LATE_S`].
    pub(crate) late: i64,
    /// The longest that one took, in seconds.
    pub(crate) slowest_s: f64,
    /// What is left in the queue's tables, and the dead.
    pub(crate) left: i64,
    /// Leases that ran out.
    pub(crate) expired: i64,
}

/// Makes the ledger in a migrated database.
pub(crate) async fn install(keeper: &mut PgConnection) {
    sqlx::raw_sql(INSTALL).execute(keeper).await.unwrap();
}

/// A URL whose connections are known to be of this process.
pub(crate) fn known_as(url: &str, by: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}options=-c%20{SETTING}%3D{by}")
}

/// Closes the accounts of this many accepted jobs, numbered from one.
pub(crate) async fn close(conn: &mut PgConnection, accepted: u64, begun: &Begun) -> Books {
    let accepted = i64::try_from(accepted).unwrap();
    let one = async |conn: &mut PgConnection, sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
    };
    let lost = sqlx::query_scalar(
        "select count(*) from generate_series(1, $1) n where not exists (select from ledger.effect e where e.number = n)",
    )
    .bind(accepted)
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    let again = one(conn, "select count(*) - count(distinct number) from ledger.effect").await;
    let strangers = one(
        conn,
        "select count(*) from ledger.ended e join ledger.issued i using (token, job_id) where not e.expired and e.by <> i.by",
    )
    .await;
    let (late, slowest_s): (i64, Option<f64>) =
        sqlx::query_as("select count(*) filter (where took_s > $1), max(took_s) from ledger.effect")
            .bind(LATE_S)
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    let left = one(
        conn,
        "select (select count(*) from job) + (select count(*) from job_ready) + (select count(*) from job_scheduled)
            + (select count(*) from job_blocked) + (select count(*) from job_lease) + (select count(*) from job_dead)",
    )
    .await;
    let expired = one(conn, "select count(*) from ledger.ended where expired").await;
    let stale = again + strangers;
    let run_twice = begun.twice();
    Books { lost, run_twice, stale, late, slowest_s: slowest_s.unwrap_or_default(), left, expired }
}

/// How often the handler of each job began, by the lines of the workers.
#[derive(Debug, Default)]
pub(crate) struct Begun(HashMap<String, u32>);

impl Begun {
    /// Counts what a worker said, as JSON.
    pub(crate) fn count(&mut self, log: &str) {
        const FIELD: &str = "\"job.id\":\"";
        for line in log.lines().filter(|line| line.contains("\"attempt began\"")) {
            let id = line.split_once(FIELD).and_then(|(_, rest)| rest.split_once('"'));
            let (id, _) = id.unwrap_or_else(|| panic!("an attempt without its job: {line}"));
            *self.0.entry(id.to_owned()).or_default() += 1;
        }
    }

    /// How many began more than once.
    fn twice(&self) -> i64 {
        i64::try_from(self.0.values().filter(|times| **times > 1).count()).unwrap()
    }

    /// How many began at all.
    pub(crate) fn jobs(&self) -> usize {
        self.0.len()
    }
}
