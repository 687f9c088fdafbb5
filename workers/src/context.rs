//! All that a handler may reach.

use std::sync::Arc;

use jobs::dag::Graphs;
use jobs::db::PgPool;
use jobs::queue::Wake;
use script::{Limits, Sandbox};

/// All that a handler may reach.
pub struct Context {
    /// The database.
    pub db: PgPool,
    /// Wakes workers after a commit.
    pub wake: Wake,
    /// Runs scripts.
    pub sandbox: Arc<Sandbox>,
    /// The graphs of pinned workflows.
    pub graphs: Arc<Graphs>,
}

impl Context {
    /// A context over these connections, with the default limits of scripts.
    pub fn new(db: PgPool, wake: Wake) -> Self {
        Self { db, wake, sandbox: Arc::new(Sandbox::new(Limits::default())), graphs: Arc::default() }
    }
}
