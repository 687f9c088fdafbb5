//! All that a handler may reach.

use jobs::db::PgPool;
use jobs::queue::Wake;

/// All that a handler may reach.
pub struct Context {
    /// The database.
    pub db: PgPool,
    /// Wakes workers after a commit.
    pub wake: Wake,
}

impl Context {
    /// A context over these connections.
    pub fn new(db: PgPool, wake: Wake) -> Self {
        Self { db, wake }
    }
}
