//! Copies many plain jobs in: the fastest way in, and the one place whose SQL is not checked when the
//! program is built, for COPY cannot be prepared.

use sqlx::PgConnection;

use crate::crash::{self, Point};
use crate::queue::new_job::NewJob;
use crate::{Error, Result};

const JOBS: &str = "copy job (id, pool_id, queue_id, priority, max_attempts, kind, tenant_id, trace_parent, payload) from stdin (format binary)";
const READY: &str =
    "copy job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind) from stdin (format binary)";

/// The head of a binary copy: its mark, no flags, no extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Where a binary copy ends: a row of no length.
const END: i16 = -1;

/// The length of a field that is null.
const NULL: i32 = -1;

/// The version with which the binary form of jsonb begins.
const JSONB_VERSION: u8 = 1;

/// Writes the jobs and their places in the queue, in this order; tells their ids. Two statements after one
/// that reserves the ids, so only in a transaction, for a half must not be kept; and only where nobody can drop
/// it half-way, which sqlx 0.9.0 does not mend.
///
/// None, with nothing written, for a role that row policies apply to, be it one that they let through: Postgres
/// lets only those copy whom no policy concerns.
///
/// # Errors
/// Unavailable when nobody answers; the transaction must be rolled back.
pub(super) async fn into(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Option<Vec<i64>>> {
    let Some(ids) = reserve(conn, jobs.len()).await? else { return Ok(None) };
    crash::at(Point::EnqueueReserved);
    let mut rows = Rows::new();
    for (id, job) in ids.iter().zip(jobs) {
        rows.begin(9);
        rows.field(&id.to_be_bytes())?;
        rows.routing(job)?;
        rows.field(&i16::try_from(job.max_attempts).unwrap_or(i16::MAX).to_be_bytes())?;
        rows.field(job.kind.as_str().as_bytes())?;
        rows.optional(job.tenant.as_ref().map(|t| t.0.as_bytes().as_slice()))?;
        rows.optional(job.trace_parent.as_deref().map(str::as_bytes))?;
        rows.jsonb(&job.payload)?;
    }
    rows.send(conn, JOBS).await?;
    crash::at(Point::EnqueueCopied);
    let mut rows = Rows::new();
    for (id, job) in ids.iter().zip(jobs) {
        rows.begin(7);
        rows.field(&id.to_be_bytes())?;
        rows.routing(job)?;
        // Neither attempts nor crashes yet.
        rows.field(&0_i16.to_be_bytes())?;
        rows.field(&0_i16.to_be_bytes())?;
        rows.field(job.kind.as_str().as_bytes())?;
    }
    rows.send(conn, READY).await?;
    crash::at(Point::EnqueuePlaced);
    Ok(Some(ids))
}

/// Reserves ids, unless the role may not copy.
async fn reserve(conn: &mut PgConnection, count: usize) -> Result<Option<Vec<i64>>> {
    let count = i32::try_from(count).map_err(Error::internal)?;
    let row = sqlx::query!(
        "select case when not row_security_active('job') then
            array(select nextval('job_id_seq') from generate_series(1, $1::integer)) end as ids",
        count
    )
    .fetch_one(conn)
    .await?;
    Ok(row.ids)
}

/// Rows in the binary form of COPY.
struct Rows(Vec<u8>);

impl Rows {
    fn new() -> Self {
        Self(HEAD.to_vec())
    }

    fn begin(&mut self, fields: i16) {
        self.0.extend(fields.to_be_bytes());
    }

    fn field(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend(i32::try_from(bytes.len()).map_err(Error::internal)?.to_be_bytes());
        self.0.extend(bytes);
        Ok(())
    }

    fn optional(&mut self, bytes: Option<&[u8]>) -> Result<()> {
        match bytes {
            Some(bytes) => self.field(bytes)?,
            None => self.0.extend(NULL.to_be_bytes()),
        }
        Ok(())
    }

    fn jsonb(&mut self, text: &str) -> Result<()> {
        self.0.extend(i32::try_from(text.len() + 1).map_err(Error::internal)?.to_be_bytes());
        self.0.push(JSONB_VERSION);
        self.0.extend(text.as_bytes());
        Ok(())
    }

    /// The columns that say where a job goes, the same in both tables.
    fn routing(&mut self, job: &NewJob) -> Result<()> {
        self.field(&job.queue.pool_id.to_be_bytes())?;
        self.field(&job.queue.id.to_be_bytes())?;
        self.field(&(job.priority as i16).to_be_bytes())
    }

    async fn send(mut self, conn: &mut PgConnection, statement: &'static str) -> Result<()> {
        self.0.extend(END.to_be_bytes());
        let mut copy = conn.copy_in_raw(statement).await?;
        copy.send(self.0).await?;
        copy.finish().await?;
        Ok(())
    }
}
