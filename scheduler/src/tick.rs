//! The loop over duties: each at its own pace, bounded in time, repeated whatever happens.

use std::convert::Infallible;
use std::time::Instant;

use futures::future::join_all;
use jobs::db::patience::{Patience, about, bounded};

use crate::duty::{Context, Duty};

/// Does every duty over and over. Ends only by being dropped.
pub(crate) async fn run(context: &Context) {
    join_all(Duty::ALL.into_iter().map(|duty| repeat(duty, context))).await;
}

/// Side by side, so that a duty that waits for a lock does not keep the others from their time.
async fn repeat(duty: Duty, context: &Context) -> Infallible {
    let mut patience = Patience::default();
    loop {
        let began = Instant::now();
        let done = bounded(duty.limit(), duty.perform(context)).await;
        jobs::metrics::duty(duty.as_str(), done.is_ok(), began.elapsed());
        let wait = match done {
            Ok(()) => {
                patience.reset();
                about(duty.every())
            }
            Err(error) => {
                let cause = jobs::db::innermost(&error).unwrap_or_default();
                tracing::warn!(%error, cause, duty = duty.as_str(), "a duty failed; trying again");
                patience.next_wait().min(duty.every())
            }
        };
        tokio::time::sleep(wait).await;
    }
}
