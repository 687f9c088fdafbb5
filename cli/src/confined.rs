//! Gives each role of a process connections that may do no more than it needs, or says loudly that it cannot.

use jobs::Error;
use jobs::config::{DatabaseConfig, Reader};
use jobs::db::patience::Patience;
use jobs::db::wall::{self, DbRole};
use jobs::db::{CALL_TIMEOUT, PgPool, connect_as};
use tokio_util::sync::CancellationToken;

/// The variable that says what becomes of a start without the roles in Postgres.
const VARIABLE: &str = "TENANT_WALL";

/// What becomes of a start where Postgres does not keep tenants apart as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confined {
    /// It goes on with the login of `DATABASE_URL`, and says so.
    Auto,
    /// It is refused.
    Required,
}

/// The connections of a process, by what they are for. Where it has no use for one of them, that is any other.
pub(crate) struct Pools {
    /// The API's.
    pub(crate) api: PgPool,
    /// Those of workers and of the scheduler.
    pub(crate) work: PgPool,
    works: bool,
    apart: bool,
}

impl Pools {
    /// The pool that is not the API's, where the process has both.
    pub(crate) fn beside_the_api(&self) -> Option<&PgPool> {
        self.apart.then_some(&self.work)
    }

    /// Those for what no role needs in particular.
    pub(crate) fn any(&self) -> &PgPool {
        if self.works { &self.work } else { &self.api }
    }

    /// Closes all of them; what the server does not answer is left to the end of the process.
    pub(crate) async fn close(self) {
        let closing = async {
            self.api.close().await;
            self.work.close().await;
        };
        if tokio::time::timeout(CALL_TIMEOUT, closing).await.is_err() {
            tracing::warn!("some connections to the database could not be closed in order");
        }
    }
}

impl Confined {
    /// Reads `TENANT_WALL`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        match reader.text(VARIABLE).as_deref() {
            None | Some("auto") => Self::Auto,
            Some("required") => Self::Required,
            Some(other) => {
                reader.fault(format!("`{VARIABLE}` is `{other}`; it is `auto` or `required`"));
                Self::Auto
            }
        }
    }

    /// The connections of a process that serves the API, works, or both. The login's own, with which the start
    /// was prepared, are closed unless they are needed.
    ///
    /// # Errors
    /// Conflict where a role cannot be taken on and must be.
    pub(crate) async fn pools(
        self,
        config: &DatabaseConfig,
        login: PgPool,
        serves: bool,
        works: bool,
        shutdown: &CancellationToken,
    ) -> jobs::Result<Pools> {
        let api = if serves { self.pool(config, &login, DbRole::Api, shutdown).await? } else { None };
        let work = if works { self.pool(config, &login, DbRole::Worker, shutdown).await? } else { None };
        if (api.is_some() || !serves) && (work.is_some() || !works) {
            login.close().await;
        }
        // Where neither role stands both are the login's.
        let apart = serves && works && (api.is_some() || work.is_some());
        Ok(Pools { api: api.unwrap_or_else(|| login.clone()), work: work.unwrap_or(login), works, apart })
    }

    /// Connections that work as the role; none where it cannot be taken on. A database that is away for a while
    /// is waited for: nothing ends for that.
    async fn pool(
        self,
        config: &DatabaseConfig,
        login: &PgPool,
        role: DbRole,
        shutdown: &CancellationToken,
    ) -> jobs::Result<Option<PgPool>> {
        let mut patience = Patience::default();
        let found = loop {
            match connect_as(config, login, role).await {
                Err(error) if error.is_transient() && !shutdown.is_cancelled() => {
                    tracing::warn!(%error, "waiting for the database");
                    tokio::time::sleep(patience.next_wait()).await;
                }
                settled => break settled?,
            }
        };
        if found.is_none() {
            let (told, remedy) = wall::missing(role);
            if self == Self::Required {
                let refused = format!("{told}; {remedy}, or set `{VARIABLE}` to `auto`");
                return Err(Error::conflict(refused));
            }
            tracing::error!(told, remedy, "a role cannot be taken on");
        }
        Ok(found)
    }
}
