//! All that a request may touch.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use jobs::dag::Graphs;
use jobs::db::PgPool;
use jobs::queue::Wake;
use rules::seal::Keyring;
use script::Sandbox;

use crate::audit::Buffer;
use crate::auth::{External, Passwords, Tokens};
use crate::config::ApiConfig;
use crate::graphql::ApiSchema;
use crate::probe::Readiness;
use crate::rate::Meters;
use crate::realtime::Live;

/// The API's state; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What [`App`] shares.
pub struct Parts {
    pub(crate) db: PgPool,
    /// The pool of the process' other roles, whose use is shown with that of the API's.
    beside: OnceLock<PgPool>,
    wake: Wake,
    pub(crate) graphs: Graphs,
    sandbox: Arc<Sandbox>,
    keyring: Arc<Keyring>,
    pub(crate) config: ApiConfig,
    pub(crate) tokens: Tokens,
    pub(crate) external: Option<External>,
    pub(crate) passwords: Passwords,
    pub(crate) schema: ApiSchema,
    pub(crate) readiness: Readiness,
    pub(crate) audit: Buffer,
    pub(crate) rates: Meters,
    pub(crate) live: Live,
    draining: AtomicBool,
}

impl App {
    /// A state over a database, with the way to wake workers, the sandbox that compiles scripts, and the
    /// keys that seal secrets.
    pub fn new(
        db: PgPool,
        wake: Wake,
        sandbox: Arc<Sandbox>,
        keyring: Arc<Keyring>,
        config: ApiConfig,
    ) -> Self {
        Self(Arc::new(Parts {
            tokens: Tokens::new(&config),
            external: config.external.clone().map(External::new),
            passwords: Passwords::new(config.limits.password_checks),
            schema: crate::graphql::schema(config.introspection),
            readiness: Readiness::default(),
            audit: Buffer::default(),
            rates: Meters::new(&config.limits.rates),
            live: Live::new(&config.limits),
            draining: AtomicBool::new(false),
            db,
            beside: OnceLock::new(),
            wake,
            graphs: Graphs::default(),
            sandbox,
            keyring,
            config,
        }))
    }

    /// The way to wake workers after a commit.
    pub fn wake(&self) -> &Wake {
        &self.0.wake
    }

    /// The database.
    pub fn db(&self) -> &PgPool {
        &self.0.db
    }

    /// Shows the use of another pool of this process together with that of the API's. The first one counts.
    pub fn show_beside(&self, db: PgPool) {
        self.0.beside.get_or_init(|| db);
    }

    /// That pool, if there is one.
    pub(crate) fn beside(&self) -> Option<&PgPool> {
        self.0.beside.get()
    }

    /// What compiles scripts; here they are never run.
    pub fn sandbox(&self) -> &Sandbox {
        &self.0.sandbox
    }

    /// The keys that seal secrets.
    pub fn keyring(&self) -> &Keyring {
        &self.0.keyring
    }

    /// Tells the probes that the process is about to end, and live connections to go elsewhere.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.live.stop();
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
