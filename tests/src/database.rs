//! One database per test: a clone of a template that is migrated once, dropped with its handle.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jobs::config::DatabaseConfig;
use jobs::db::wall::{self, DbRole};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres as Sql};
use tokio::sync::OnceCell;

use crate::postgres::Postgres;

/// Most connections of the pool of a role; a whole product on the same database brings its own.
const POOL_CONNECTIONS: u32 = 8;
/// Most connections of the pool that all of a test shares.
const SHARED_CONNECTIONS: u32 = 24;
/// Databases of tests older than this are leftovers, in seconds.
const LEFTOVER_S: u64 = 24 * 60 * 60;

/// A migrated database that belongs to one test.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    keeper: PgConnectOptions,
    shared: OnceCell<PgPool>,
}

impl Database {
    /// A fresh, migrated database on the shared server.
    ///
    /// # Panics
    /// When the server or the migrations fail.
    pub async fn new() -> Self {
        let postgres = Postgres::shared().await;
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(|| template(postgres)).await;
        Self::clone_of(postgres, template).await
    }

    /// A fresh, migrated database on a server of the test's own.
    ///
    /// # Panics
    /// When the server or the migrations fail.
    pub async fn on(postgres: &Postgres) -> Self {
        let empty = Self::empty_on(postgres).await;
        migrate(&empty.url).await;
        empty
    }

    /// A database without any schema on the shared server.
    ///
    /// # Panics
    /// When the server fails.
    pub async fn empty() -> Self {
        Self::empty_on(Postgres::shared().await).await
    }

    /// A database without any schema on a server of the test's own.
    ///
    /// # Panics
    /// When the server fails.
    pub async fn empty_on(postgres: &Postgres) -> Self {
        Self::clone_of(postgres, "template1").await
    }

    async fn clone_of(postgres: &Postgres, template: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mill_test_{}_{}_{}",
            seconds(),
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let role = postgres.role();
        let mut keeper = postgres.keeper().connect().await.expect("the test server answers");
        run(&mut keeper, format!("create database {name} template {template} owner \"{role}\"")).await;
        Self { url: postgres.url(&name), keeper: postgres.keeper().clone(), name, shared: OnceCell::new() }
    }

    /// The URL of this database, as a process under test takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pool on this database that all of a test shares: a new connection costs more than most of what is asked
    /// over one. Not to be closed.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn pool(&self) -> PgPool {
        let options = PgPoolOptions::new().max_connections(SHARED_CONNECTIONS);
        let made = self.shared.get_or_try_init(|| options.connect(&self.url)).await;
        made.expect("the test's database answers").clone()
    }

    /// A connection out of the shared pool, for a look or a statement: see [`Database::connect`] for one whose
    /// session is changed or whose end is seen.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn desk(&self) -> PoolConnection<Sql> {
        self.pool().await.acquire().await.expect("the test's database answers")
    }

    /// A new pool on this database that works as the API does: behind the wall between tenants.
    ///
    /// # Panics
    /// When it cannot connect, or the wall does not hold.
    pub async fn behind_wall(&self) -> PgPool {
        let pool = self.pool_as(DbRole::Api).await;
        let mut conn = pool.acquire().await.expect("it answers");
        assert!(wall::holds(&mut conn).await.expect("it answers"), "the wall holds");
        drop(conn);
        pool
    }

    /// A new pool on this database that works as the role.
    ///
    /// # Panics
    /// When it cannot connect, or not take on the role.
    pub async fn pool_as(&self, role: DbRole) -> PgPool {
        self.pool_of(role, POOL_CONNECTIONS).await
    }

    /// The same, of so many connections at most.
    ///
    /// # Panics
    /// As [`Database::pool_as`].
    pub async fn pool_of(&self, role: DbRole, connections: u32) -> PgPool {
        let config = DatabaseConfig { url: self.url.clone().into(), connections };
        let login = self.pool().await;
        let pool = jobs::db::connect_as(&config, &login, role).await.expect("the test's database answers");
        pool.expect("the role can be taken on")
    }

    /// A single new connection to this database, for a session of its own.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("the test's database answers")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (keeper, name) = (self.keeper.clone(), self.name.clone());
        // A drop cannot await and the test's runtime may be ending, so a thread brings its own.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut keeper = keeper.connect().await?;
                let statement = format!("drop database if exists {name} with (force)");
                sqlx::query(AssertSqlSafe(statement)).execute(&mut keeper).await?;
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        match dropping.join() {
            Ok(Ok(())) => {}
            // The server of a fault test may be dead by now; its files go with its cluster.
            Ok(Err(error)) => eprintln!("the database `{}` was not dropped: {error}", self.name),
            Err(_) => eprintln!("the database `{}` was not dropped", self.name),
        }
    }
}

/// Makes the migrated template, once per process.
async fn template(postgres: &Postgres) -> String {
    let mut keeper = postgres.keeper().connect().await.expect("the test server answers");
    sweep(&mut keeper).await;
    let name = format!("mill_test_{}_{}_template", seconds(), std::process::id());
    let role = postgres.role();
    run(&mut keeper, format!("create database {name} owner \"{role}\"")).await;
    migrate(&postgres.url(&name)).await;
    name
}

async fn migrate(url: &str) {
    let pool = PgPoolOptions::new().max_connections(2).connect(url).await.expect("the template answers");
    jobs::db::migrate(&pool).await.expect("the migrations apply");
    pool.close().await;
}

/// Drops what runs of days ago left on a server that outlives its runs.
async fn sweep(keeper: &mut PgConnection) {
    let names: Vec<String> =
        sqlx::query_scalar("select datname::text from pg_database where datname like 'mill\\_test\\_%'")
            .fetch_all(&mut *keeper)
            .await
            .expect("the catalogue can be read");
    let oldest = seconds().saturating_sub(LEFTOVER_S);
    for name in names {
        let made: Option<u64> = name.split('_').nth(2).and_then(|text| text.parse().ok());
        if made.is_some_and(|made| made < oldest) {
            run(keeper, format!("drop database if exists {name} with (force)")).await;
        }
    }
}

async fn run(keeper: &mut PgConnection, statement: String) {
    let shown = statement.clone();
    sqlx::query(AssertSqlSafe(statement)).execute(keeper).await.unwrap_or_else(|e| panic!("`{shown}`: {e}"));
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
