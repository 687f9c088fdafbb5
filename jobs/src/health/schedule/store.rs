//! The statements of the schedule, each over a bounded number of rows.

use std::time::Duration;

use rules::health::{Check, DEFAULT_INTERVAL_S, Standing, Status, standing};
use rules::id::{JobId, MachineId, TenantId};
use rules::machine::{Seen, Wanted};
use rules::queue::HostNo;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// A machine of which the schedule is behind.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) machine: MachineId,
    pub(super) tenant: TenantId,
    pub(super) wanted: Wanted,
    pub(super) seen: Seen,
    pub(super) is_destroyed: bool,
    pub(super) host: String,
    pub(super) host_answers: bool,
    /// What the schedule said of it; none for one that it does not know.
    pub(super) before: Option<Before>,
}

/// What the schedule said of a machine.
#[derive(Debug)]
pub(super) struct Before {
    /// None where somebody asked for a check before the schedule knew the machine.
    pub(super) standing: Option<Standing>,
    pub(super) status: Status,
    pub(super) reason: Option<String>,
}

/// What the schedule says of a machine from now on.
#[derive(Debug)]
pub(super) struct Followed<'a> {
    pub(super) of: &'a Behind,
    pub(super) status: Status,
    pub(super) reason: Option<String>,
    /// Within which time its checks are due; none when they are not made.
    pub(super) within: Option<Duration>,
    pub(super) is_unheard: bool,
}

/// A check that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) machine: MachineId,
    pub(super) tenant: TenantId,
    pub(super) check: Check,
    pub(super) interval_s: u32,
    pub(super) host_no: HostNo,
}

/// A check that was put into the queue.
#[derive(Debug)]
pub(super) struct PutOff {
    pub(super) machine: MachineId,
    pub(super) check: Check,
    pub(super) job: JobId,
    /// After which time it is due again.
    pub(super) by: Duration,
}

/// Machines that are not as the schedule took them in, that it does not know, or that are destroyed and it
/// still knows.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub(super) async fn behind(conn: &mut PgConnection, limit: i64) -> Result<Vec<Behind>> {
    let rows = sqlx::query!(
        r#"select m.id, m.tenant_id, m.wanted, m.seen, m.destroyed_at is not null as "is_destroyed!", o.name as host, o.answers as "answers!",
            h.status as "status?", h.reason as "reason?", h.wanted as "old_wanted?", h.seen as "old_seen?", h.host_answers as "old_answers?"
        from machine m
        join (
            select o.id, o.name, o.reach = 'ONLINE' and coalesce(l.lease_until > now(), false) as answers
            from host o left join lease l on l.name = 'host:' || o.id::text
        ) o on o.id = m.host_id
        left join machine_health h on h.machine_id = m.id
        where (m.destroyed_at is null and (h.machine_id is null or (h.wanted, h.seen, h.host_answers) is distinct from (m.wanted, m.seen, o.answers)))
            or (m.destroyed_at is not null and h.machine_id is not null)
        order by m.id limit $1"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let odd = || Error::internal(format!("machine {} does not read back", row.id));
            let before = match (row.status, row.old_wanted, row.old_seen, row.old_answers) {
                (Some(status), Some(wanted), Some(seen), Some(answers)) => Some(Before {
                    standing: Wanted::from_name(&wanted)
                        .zip(Seen::from_name(&seen))
                        .map(|(wanted, seen)| standing(wanted, seen, answers)),
                    status: Status::from_name(&status).ok_or_else(odd)?,
                    reason: row.reason,
                }),
                _ => None,
            };
            Ok(Behind {
                machine: MachineId(row.id),
                tenant: TenantId(row.tenant_id),
                wanted: Wanted::from_name(&row.wanted).ok_or_else(odd)?,
                seen: Seen::from_name(&row.seen).ok_or_else(odd)?,
                is_destroyed: row.is_destroyed,
                host: row.host,
                host_answers: row.answers,
                before,
            })
        })
        .collect()
}

/// Takes in what machines are, and makes the checks of those that have none.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn take_in(conn: &mut PgConnection, followed: &[Followed<'_>]) -> Result<()> {
    let machines: Vec<Uuid> = followed.iter().map(|f| f.of.machine.0).collect();
    let tenants: Vec<Uuid> = followed.iter().map(|f| f.of.tenant.0).collect();
    let wanted: Vec<&str> = followed.iter().map(|f| f.of.wanted.as_str()).collect();
    let seen: Vec<&str> = followed.iter().map(|f| f.of.seen.as_str()).collect();
    let answers: Vec<bool> = followed.iter().map(|f| f.of.host_answers).collect();
    let statuses: Vec<&str> = followed.iter().map(|f| f.status.as_str()).collect();
    let reasons: Vec<Option<&str>> = followed.iter().map(|f| f.reason.as_deref()).collect();
    let spreads: Vec<Option<i32>> = followed.iter().map(|f| f.within.map(whole_ms)).collect();
    let names = Check::ALL.map(Check::as_str);
    sqlx::query!(
        "select health_follow_v2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        &machines,
        &tenants,
        &wanted as &[&str],
        &seen as &[&str],
        &answers,
        &statuses as &[&str],
        &reasons as &[Option<&str>],
        &spreads as &[Option<i32>],
        &names as &[&str],
        i32::try_from(DEFAULT_INTERVAL_S).unwrap_or(i32::MAX),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says of machines whose host does not answer that nothing is known of them.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn unheard(conn: &mut PgConnection, unheard: &[&Followed<'_>]) -> Result<()> {
    let machines: Vec<Uuid> = unheard.iter().map(|f| f.of.machine.0).collect();
    let reasons: Vec<&str> = unheard.iter().map(|f| f.reason.as_deref().unwrap_or_default()).collect();
    sqlx::query!("select health_unheard_v1($1, $2)", &machines, &reasons as &[&str]).execute(conn).await?;
    Ok(())
}

/// Forgets the checks of machines that are destroyed. What they found is kept for its time.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn forget(conn: &mut PgConnection, gone: &[&Behind]) -> Result<()> {
    let machines: Vec<Uuid> = gone.iter().map(|b| b.machine.0).collect();
    sqlx::query!("select health_forget_v1($1)", &machines).execute(conn).await?;
    Ok(())
}

/// Checks that are due, the most overdue first; those that somebody else holds are passed over.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub(super) async fn due(conn: &mut PgConnection, limit: i64) -> Result<Vec<Due>> {
    let rows = sqlx::query!(
        "select c.machine_id, c.tenant_id, c.name, c.interval_s, o.no
        from health_check c join machine m on m.id = c.machine_id join host o on o.id = m.host_id
        where c.enabled and c.due_at <= now() order by c.due_at limit $1 for update of c skip locked",
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Due {
                machine: MachineId(row.machine_id),
                tenant: TenantId(row.tenant_id),
                check: row.name.parse().map_err(Error::internal)?,
                interval_s: u32::try_from(row.interval_s).unwrap_or(DEFAULT_INTERVAL_S),
                host_no: HostNo::new(row.no)
                    .ok_or_else(|| Error::internal("a host's number is out of range"))?,
            })
        })
        .collect()
}

/// Says when checks that were put into the queue are due again.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn put_off(conn: &mut PgConnection, put_off: &[PutOff]) -> Result<()> {
    let machines: Vec<Uuid> = put_off.iter().map(|p| p.machine.0).collect();
    let names: Vec<&str> = put_off.iter().map(|p| p.check.as_str()).collect();
    let jobs: Vec<i64> = put_off.iter().map(|p| p.job.0).collect();
    let delays: Vec<i32> = put_off.iter().map(|p| whole_ms(p.by)).collect();
    sqlx::query!(
        "update health_check c set job_id = n.job, due_at = now() + n.delay_ms * interval '1 millisecond'
        from unnest($1::uuid[], $2::text[], $3::bigint[], $4::integer[]) n(machine, name, job, delay_ms)
        where c.machine_id = n.machine and c.name = n.name",
        &machines,
        &names as &[&str],
        &jobs,
        &delays
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn whole_ms(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
