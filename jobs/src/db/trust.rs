//! Which connections are used again: only those that are known to answer.
//!
//! The other end of a connection can go without a word: a machine loses power, a firewall forgets, a proxy hangs.
//! Whoever waits for an answer is bounded by his own limit; the connection is not. sqlx 0.9.0 takes one back into
//! its pool by asking it something, without any limit, and one that never answers would keep its place in the pool
//! until the kernel gives it up, a quarter of an hour later or never. A few of them, and a process has none left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnectionMetadata;
use sqlx::{Connection, PgConnection};

use super::CALL_TIMEOUT;

/// How long a connection that rested may take to say that it lives.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may have rested before it is tested.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// What this process last heard of the database.
static HEARD: Mutex<Heard> = Mutex::new(Heard { answered: None, in_vain: None });

/// When a database last answered, and when somebody last waited in vain.
#[derive(Debug, Default)]
struct Heard {
    answered: Option<Instant>,
    in_vain: Option<Instant>,
}

impl Heard {
    /// Somebody has waited in vain since `began`. What hit one connection has hit all that were there, unless one
    /// of them answered meanwhile: then the database is slow, or that one line dead, which its own way back to the
    /// pool finds out.
    fn nothing_since(&mut self, began: Instant) {
        if self.answered.is_none_or(|answered| answered < began) {
            self.in_vain = Some(Instant::now());
        }
    }

    /// Whether a connection of this age came after the last wait in vain.
    fn trusts(&self, age: Duration) -> bool {
        self.in_vain.is_none_or(|last| last.elapsed() > age)
    }
}

fn heard() -> MutexGuard<'static, Heard> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that an answer came.
pub(super) fn answered() {
    heard().answered = Some(Instant::now());
}

/// Notes that an answer was waited for in vain since `began`: if none came to anybody, no connection that is there
/// now is used again. To be called before what waited is dropped, which gives its connection back.
pub(super) fn waited_in_vain(began: Instant) {
    heard().nothing_since(began);
}

/// Whether a connection of this age came after the last wait in vain.
fn came_since(age: Duration) -> bool {
    heard().trusts(age)
}

/// Whether a connection from the pool may be used. One used a moment ago is not asked whether it lives: that would
/// cost each call a round trip. One that rested is, so that a restart of Postgres is not a user's error.
pub(super) async fn before_use(
    conn: &mut PgConnection,
    meta: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if !came_since(meta.age) {
        return Err(silent());
    }
    if meta.idle_for > TRUSTED_IDLE {
        within(ASK_TIMEOUT, conn.ping()).await?;
        answered();
    }
    Ok(true)
}

/// Whether a connection may go back to the pool. One that was left in the middle of a call has its answer still to
/// come; any other is asked nothing here.
pub(super) async fn after_use(
    conn: &mut PgConnection,
    meta: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if !came_since(meta.age) {
        return Err(silent());
    }
    within(CALL_TIMEOUT, conn.flush()).await?;
    Ok(true)
}

/// Waits for an answer that a connection's way back to the pool depends on; an error makes sqlx close it at once.
pub(super) async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let began = Instant::now();
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer,
        Err(_) => {
            waited_in_vain(began);
            Err(silent())
        }
    }
}

fn silent() -> sqlx::Error {
    let text = "the other end fell silent; the connection is not used again";
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(2);

    #[test]
    fn what_was_there_when_nobody_answered_is_not_used_again() {
        let mut heard = Heard { answered: Some(Instant::now()), ..Heard::default() };
        std::thread::sleep(MOMENT);
        heard.nothing_since(Instant::now());
        assert!(!heard.trusts(Duration::from_secs(1)));
        std::thread::sleep(MOMENT);
        assert!(heard.trusts(Duration::ZERO), "one that came afterwards");
    }

    #[test]
    fn a_slow_call_beside_others_that_are_answered_takes_nothing_from_them() {
        let mut heard = Heard::default();
        let began = Instant::now();
        heard.answered = Some(began + MOMENT);
        heard.nothing_since(began);
        assert!(heard.trusts(Duration::from_secs(1)));
    }
}
