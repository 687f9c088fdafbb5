//! Makes and changes schedules: reads what is wanted, looks the workflow up, says when the next tick is.

use chrono::{DateTime, Utc};
use rules::access::Title;
use rules::dag::limits::MAX_INPUT_BYTES;
use rules::id::{FiringId, ScheduleId, TenantId, WorkflowId};
use rules::kept;
use rules::schedule::{
    CATCH_UP_MAX, CatchUp, DESCRIPTION_CHARS_MAX, Draft, Fault, RETRIES_MAX, RETRY_DELAY_S, TIMEOUT_S, When,
    bound,
};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Saved, Schedule};
use crate::payload::schedule::ScheduleFire;
use crate::queue::{Enqueued, NewJob, enqueue};
use crate::workflow::store as workflows;
use crate::{Code, Error, Result, firing};

/// What somebody wants of a schedule.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Its name for people.
    pub title: &'a Title,
    /// What it is for.
    pub description: &'a str,
    /// The workflow that it starts.
    pub workflow: WorkflowId,
    /// What each run starts with; an object.
    pub input: &'a Value,
    /// When it is due.
    pub draft: Draft<'a>,
    /// What is done about missed ticks: SKIP, ONCE or ALL.
    pub catch_up: &'a str,
    /// How many are made up for at most, with ALL.
    pub catch_up_max: i64,
    /// How long a run may take, in seconds.
    pub timeout_s: i64,
    /// How many further attempts a firing has whose run fails.
    pub retries: i64,
    /// The wait before each, in seconds.
    pub retry_delay_s: i64,
    /// Whether nothing is fired yet.
    pub disabled: bool,
    /// Who saves it, as `user:<id>` or `key:<id>`.
    pub by: &'a str,
}

/// Why a schedule was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// What is wanted is wrong: everything that is.
    #[error("the schedule has {} fault(s): {}", .0.len(), told(.0))]
    Faults(Vec<Fault>),
    /// Anything else.
    #[error(transparent)]
    House(#[from] Error),
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(|f| format!("`{}` {}", f.field, f.message)).collect::<Vec<_>>().join("; ")
}

/// The database's clock, by which alone schedules go.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>> {
    store::now(conn).await
}

/// Makes a schedule.
///
/// # Errors
/// All faults at once; Exhausted when the tenant has as many as it may have.
pub async fn create(
    conn: &mut PgConnection,
    tenant: TenantId,
    wish: &Wish<'_>,
) -> std::result::Result<Schedule, SaveError> {
    let now = store::now(conn).await?;
    let (when, catch_up) = checked(conn, tenant, wish, When::read(&wish.draft, now)).await?;
    let next_at = next(&when, now, wish.disabled)?;
    let id = ScheduleId(Uuid::now_v7());
    store::insert(conn, id, tenant, &saved(wish, &when, catch_up, next_at)).await?;
    Ok(store::get(conn, Some(tenant), id).await?)
}

/// Changes all of a schedule, if it still is at `version`. One that is due as before keeps its next tick, or none where
/// its only one has passed.
///
/// # Errors
/// All faults at once; NotFound when the tenant has no such schedule; Conflict when it was changed meanwhile.
pub async fn update(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ScheduleId,
    version: i32,
    wish: &Wish<'_>,
) -> std::result::Result<Schedule, SaveError> {
    let before = store::hold(conn, tenant, id).await?;
    let now = store::now(conn).await?;
    let due = before.when()?;
    let (when, catch_up) = checked(conn, tenant, wish, When::reread(&wish.draft, now, &due)).await?;
    let same = due == when && before.disabled == wish.disabled;
    if !same && !wish.disabled {
        when.comes(now).map_err(SaveError::Faults)?;
    }
    let next_at = if same { before.next_at } else { next(&when, now, wish.disabled)? };
    store::save(conn, id, tenant, version, &saved(wish, &when, catch_up, next_at)).await?;
    Ok(store::get(conn, Some(tenant), id).await?)
}

/// Makes a schedule like another, disabled, so that it can be changed before it fires.
///
/// # Errors
/// NotFound when the tenant has no such schedule; Exhausted when it has as many as it may have.
pub async fn clone(
    conn: &mut PgConnection,
    tenant: TenantId,
    of: ScheduleId,
    title: &Title,
    by: &str,
) -> Result<Schedule> {
    let origin = store::get(conn, Some(tenant), of).await?;
    let like = Saved {
        title: title.as_str(),
        description: &origin.description,
        workflow: WorkflowId(origin.workflow_id),
        input: &origin.input,
        when: &origin.when()?,
        catch_up: origin.catches_up()?,
        timeout_s: origin.timeout_s,
        retries: origin.retries,
        retry_delay_s: origin.retry_delay_s,
        disabled: true,
        next_at: None,
        by,
    };
    let id = ScheduleId(Uuid::now_v7());
    store::insert(conn, id, tenant, &like).await?;
    store::get(conn, Some(tenant), id).await
}

/// Lets a schedule fire, or not. Ticks of the time in which it is disabled are not missed: there are none.
///
/// # Errors
/// NotFound when the tenant has no such schedule; Conflict when it has no tick to come.
pub async fn set_disabled(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ScheduleId,
    disabled: bool,
) -> Result<Schedule> {
    let before = store::hold(conn, tenant, id).await?;
    if before.disabled != disabled {
        let now = store::now(conn).await?;
        let next_at = next(&before.when()?, now, disabled)?;
        if !disabled && next_at.is_none() {
            return Err(Error::conflict(format!(
                "schedule `{id}` has no tick to come, for its time has passed; give it another time"
            )));
        }
        store::set_disabled(conn, id, tenant, disabled, next_at).await?;
    }
    store::get(conn, Some(tenant), id).await
}

/// Fires a schedule now, whatever its ticks are, and though it is disabled. Pass the jobs to `Wake::send` after the
/// commit.
///
/// # Errors
/// NotFound when the tenant has no such schedule.
pub async fn run(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ScheduleId,
    by: &str,
    trace_parent: Option<String>,
) -> Result<(FiringId, Vec<Enqueued>)> {
    store::get(conn, Some(tenant), id).await?;
    let firing_id = FiringId(Uuid::now_v7());
    let job = NewJob::of(&ScheduleFire { firing_id })?.tenant(tenant).trace(trace_parent);
    let enqueued = enqueue(conn, &[job]).await?;
    firing::store::enter_asked(conn, firing_id, tenant, id, by, enqueued.first().map(|e| e.id)).await?;
    Ok((firing_id, enqueued))
}

async fn checked(
    conn: &mut PgConnection,
    tenant: TenantId,
    wish: &Wish<'_>,
    when: std::result::Result<When, Vec<Fault>>,
) -> std::result::Result<(When, CatchUp), SaveError> {
    let mut faults = Vec::new();
    let bounds = [
        ("catchUpMax", wish.catch_up_max, (1, i64::from(CATCH_UP_MAX))),
        ("timeoutSeconds", wish.timeout_s, TIMEOUT_S),
        ("retryAttempts", wish.retries, (0, RETRIES_MAX)),
        ("retryDelaySeconds", wish.retry_delay_s, RETRY_DELAY_S),
    ];
    faults.extend(bounds.into_iter().filter_map(|(field, value, range)| bound(field, value, range).err()));
    let chars = wish.description.chars().count();
    if chars > DESCRIPTION_CHARS_MAX {
        let told = format!("has {chars} characters; it may have {DESCRIPTION_CHARS_MAX}");
        faults.push(Fault::new("description", told));
    }
    let bytes = kept::bytes(wish.input);
    if !wish.input.is_object() {
        faults.push(Fault::new("workflowConfig", "is no object; give one, such as `{}`"));
    } else if bytes > MAX_INPUT_BYTES {
        let told = format!("has {bytes} bytes; a run takes at most {MAX_INPUT_BYTES}, give less");
        faults.push(Fault::new("workflowConfig", told));
    }
    let most = u32::try_from(wish.catch_up_max).unwrap_or(1);
    let catch_up = CatchUp::from_name(wish.catch_up, most);
    if catch_up.is_none() {
        faults.push(Fault::new("catchUp", "is unknown; there are SKIP, ONCE and ALL"));
    }
    match workflows::get(conn, wish.workflow, tenant).await {
        Ok(_) => {}
        Err(error) if error.code == Code::NotFound => {
            faults.push(Fault::new("workflow", format!("is unknown: {error}")));
        }
        Err(error) => return Err(error.into()),
    }
    match (when, catch_up) {
        (Ok(when), Some(catch_up)) if faults.is_empty() => Ok((when, catch_up)),
        (Ok(_), _) => Err(SaveError::Faults(faults)),
        (Err(timing), _) => Err(SaveError::Faults(timing.into_iter().chain(faults).collect())),
    }
}

fn saved<'a>(
    wish: &'a Wish<'a>,
    when: &'a When,
    catch_up: CatchUp,
    next_at: Option<DateTime<Utc>>,
) -> Saved<'a> {
    // Each was held to its bounds before.
    let small = |value: i64| i32::try_from(value).unwrap_or(i32::MAX);
    Saved {
        title: wish.title.as_str(),
        description: wish.description,
        workflow: wish.workflow,
        input: wish.input,
        when,
        catch_up,
        timeout_s: small(wish.timeout_s),
        retries: small(wish.retries),
        retry_delay_s: small(wish.retry_delay_s),
        disabled: wish.disabled,
        next_at,
        by: wish.by,
    }
}

/// The next tick after now; none for one that is disabled.
fn next(when: &When, now: DateTime<Utc>, disabled: bool) -> Result<Option<DateTime<Utc>>> {
    if disabled {
        return Ok(None);
    }
    let timing = when.timing().map_err(|fault| Error::internal(fault.message))?;
    Ok(timing.next_after(now))
}
