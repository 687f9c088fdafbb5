//! Handles `queue.noop`: does nothing, for as long as the payload says.

use std::time::{Duration, Instant};

use jobs::crash::{self, Point};
use jobs::payload::noop::Noop;
use jobs::queue::{Attempt, finish};
use rules::queue::Outcome;

use super::Handled;
use crate::context::Context;

/// Does nothing.
pub(crate) async fn handle(context: &Context, attempt: &Attempt) -> jobs::Result<Handled> {
    let began = Instant::now();
    let payload: Noop = attempt.payload()?;
    if payload.sleep_ms > 0 {
        tokio::time::sleep(Duration::from_millis(payload.sleep_ms)).await;
    }
    if payload.settles && payload.fail.is_none() {
        let mut tx = jobs::db::begin(&context.db).await?;
        let woken = finish(&mut tx, attempt, began.elapsed()).await?;
        tx.commit().await?;
        crash::at(Point::FinishCommitted);
        context.wake.pools(&woken);
        return Ok(Handled::Settled);
    }
    Ok(Handled::Outcome(match payload.fail {
        None => Outcome::Done,
        Some(error) => Outcome::Retry { error, after: payload.retry_after_ms.map(Duration::from_millis) },
    }))
}
