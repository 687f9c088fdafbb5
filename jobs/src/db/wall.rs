//! The roles that processes work as, and the wall of row policies between tenants that stands before the API's.

use rules::id::TenantId;
use sqlx::postgres::Postgres;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Transaction};

use super::{begin, migration_options};
use crate::Result;

/// A role that processes work as. Neither owns anything, so that neither can change a table. They have the
/// same names in every database of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbRole {
    /// Of the API: sees the rows of the tenant that was entered, and of none otherwise.
    Api,
    /// Of workers, schedulers and commands: sees the rows of all tenants.
    Worker,
}

impl DbRole {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Api, Self::Worker];

    /// Its name in Postgres.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "millrace_api",
            Self::Worker => "millrace_worker",
        }
    }
}

/// What the setting is for those who see all tenants.
const EVERYWHERE: &str = "*";

/// The setting that says whose rows are seen.
const SETTING: &str = "millrace.tenant";

/// Takes the setting back that was made outside a transaction.
pub(super) const RESET: &str = "reset millrace.tenant";

/// Makes the roles where this may be done, and everything as they need it. After every change of the schema;
/// repeating it changes nothing.
///
/// # Errors
/// Unavailable when nobody answers, or a lock was waited for in vain; Denied for a login that does not own the
/// tables.
pub async fn furnish(db: &PgPool) -> Result<()> {
    let mut conn = PgConnection::connect_with(&migration_options(db)).await?;
    for role in DbRole::ALL {
        if let Err(error) = make(&mut conn, role).await {
            // Another process may be at it, and a login that may not do it leaves it to a superuser.
            tracing::debug!(%error, role = role.name(), "the role was not made");
        }
    }
    if let Err(error) = give_sight(&mut conn).await {
        // What then stays unseen, `doctor` tells.
        tracing::debug!(%error, "the transactions of others cannot be seen");
    }
    let furnished = sqlx::query!("select wall_furnish_v1()").execute(&mut conn).await;
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "the connection that furnished the roles was not closed in order");
    }
    furnished?;
    Ok(())
}

/// Whether this login can work as the role: it is there, may be taken on, and has what it needs of every table.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn stands(conn: &mut PgConnection, role: DbRole) -> Result<bool> {
    let row = sqlx::query!(r#"select wall_stands_v1($1::text::name) as "stands!""#, role.name())
        .fetch_one(conn)
        .await?;
    Ok(row.stands)
}

/// What is told where a login cannot work as the role, and the remedy.
pub fn missing(role: DbRole) -> (String, String) {
    let (name, told) = match role {
        DbRole::Api => (role.name(), "tenants are kept apart by the API's own statements alone"),
        DbRole::Worker => (role.name(), "workers and the scheduler work with all the rights of the login"),
    };
    (
        format!("the login of `DATABASE_URL` cannot work as the role `{name}`, so that {told}"),
        format!(
            "as a superuser `create role {name} nologin; grant {name} to <that login>`, then `millrace migrate` as the \
             owner of the tables"
        ),
    )
}

/// Whether a connection works as the role. A pooler in between may have dropped what was asked for.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn works_as(conn: &mut PgConnection, role: DbRole) -> Result<bool> {
    let row = sqlx::query!(r#"select current_user = $1::text::name as "yes!""#, role.name())
        .fetch_one(conn)
        .await?;
    Ok(row.yes)
}

/// Whether the policies hold a connection.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn holds(conn: &mut PgConnection) -> Result<bool> {
    let row = sqlx::query!(r#"select row_security_active('job') as "holds!""#).fetch_one(conn).await?;
    Ok(row.holds)
}

/// Enters a tenant for the rest of the transaction, or outside of one until the connection goes back to the
/// API's pool, which takes the setting back: its rows are seen from now on, and no others.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn enter(conn: &mut PgConnection, tenant: TenantId) -> Result<()> {
    set(conn, &tenant.to_string()).await
}

/// Sees all tenants, for as long as [`enter`]: for those who operate the installation, once it is known that
/// they do. A test has the list of who calls this.
///
/// # Errors
/// As [`enter`].
pub async fn enter_all(conn: &mut PgConnection) -> Result<()> {
    set(conn, EVERYWHERE).await
}

/// Begins a transaction within a tenant.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn begin_within(db: &PgPool, tenant: TenantId) -> Result<Transaction<'static, Postgres>> {
    let mut tx = begin(db).await?;
    enter(&mut tx, tenant).await?;
    Ok(tx)
}

async fn set(conn: &mut PgConnection, whose: &str) -> Result<()> {
    let local = conn.is_in_transaction();
    sqlx::query!("select set_config($1, $2, $3)", SETTING, whose, local).fetch_one(conn).await?;
    Ok(())
}

/// Lets those who report on the server see how old the transactions of others are, and with them the logins that
/// may take their role on: whoever may not sees those of its own role only, and an old one of somebody else keeps
/// the dead rows of all.
async fn give_sight(conn: &mut PgConnection) -> Result<()> {
    let role = DbRole::Worker.name();
    let row = sqlx::query!(
        r#"select exists (select from pg_roles where rolname = $1 and not pg_has_role(oid, 'pg_read_all_stats', 'usage'))
            as "blind!""#,
        role
    )
    .fetch_one(&mut *conn)
    .await?;
    if row.blind {
        sqlx::query(AssertSqlSafe(format!("grant pg_read_all_stats to {role}"))).execute(conn).await?;
    }
    Ok(())
}

/// Whether this login owns the tables, and so may give others what they need of them.
pub(super) async fn owns(conn: &mut PgConnection) -> Result<bool> {
    let row = sqlx::query!(
        r#"select pg_has_role(c.relowner, 'usage') as "yes!" from pg_class c where c.oid = 'job'::regclass"#
    )
    .fetch_one(conn)
    .await?;
    Ok(row.yes)
}

/// Makes a role, and lets this login take it on.
async fn make(conn: &mut PgConnection, role: DbRole) -> Result<()> {
    let row = sqlx::query!(
        r#"select exists (select from pg_roles where rolname = $1) as "there!",
            exists (select from pg_roles where rolname = $1 and pg_has_role(oid, 'member')) as "ours!""#,
        role.name()
    )
    .fetch_one(&mut *conn)
    .await?;
    let name = role.name();
    if !row.there {
        sqlx::query(AssertSqlSafe(format!("create role {name} nologin"))).execute(&mut *conn).await?;
    }
    if !row.ours {
        sqlx::query(AssertSqlSafe(format!("grant {name} to current_user"))).execute(&mut *conn).await?;
    }
    Ok(())
}
